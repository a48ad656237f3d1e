//! `wasmhost build`: makes every source project under a root into the `.wasm` beside its folder.
//!
//! A project in `shop/screen/home/` becomes `shop/screen/home.wasm`: the folder's name decides, not the crate's.
//! Knows nothing of serving, groups or wasmtime; that a component links is found out by those who link it.
//!
//! ```text
//!  find ──▶ Plan ──▶ cargo, one workspace after another ──┐
//!              └───▶ scripts, each on a core of its own ──┴──▶ place ──▶ Report
//! ```

mod cache;
mod cargo;
mod command;
mod debian;
mod linked;
mod place;
mod plan;
mod process;
mod projects;
mod report;
mod script;
mod script_project;
mod toolchain;
mod tools;

use std::{path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::{
    cargo::plain,
    place::{is_component, place},
    plan::{Plan, Selection},
    report::{Built, Failure, Progress, Report},
    tools::{COMPONENTIZE_JS, COMPONENTIZE_PY},
};

/// The target of every guest in Rust: components with WASI 0.2.
const TARGET: &str = "wasm32-wasip2";

/// How a build is done.
#[derive(Clone)]
pub struct Setting {
    /// Messages of compilers have colours.
    pub colours: bool,
    /// How long one program may take.
    pub limit: Duration,
    /// Ends what runs.
    pub stop: CancellationToken,
    pub sink: Sink,
}

/// Where a build tells what it does.
pub type Sink = Arc<dyn Fn(Progress) + Send + Sync>;

impl Setting {
    /// How long a program may take where nothing else is said.
    pub const LIMIT: Duration = Duration::from_secs(30 * 60);

    fn tell(&self, progress: Progress) {
        (self.sink)(progress);
    }

    fn say(&self, line: &str) {
        self.tell(Progress::Says(line.to_owned()));
    }
}

/// Whether Cargo takes a folder for a project of its own or of the workspace around it.
pub fn is_cargo_project(folder: &Path) -> bool {
    projects::metadata(folder).is_ok()
}
