//! The test kit: what a swap does to a tree is tried out on a copy of it, by a server of its own, and never
//! on what the user has. `wasmhost test` runs scenarios with it, and Rust tests can use it by themselves.
//!
//! - [`TestProject`] is a temporary tree of components, or a copy of one.
//! - [`TestHost`] is a `wasmhost serve` on it: a process with a free port, a state directory of its own and
//!   without this one's environment. Its events can be waited for.
//! - [`TestClient`] asks it; [`TestClient::hold`] is the gate: a request whose body has not ended keeps its
//!   guest, and with it the generation, until the test lets it go. [`TestClient::begin`] waits for no head: a page
//!   does not begin before its body's end.
//! - [`TestHost::advance`] moves the server's clock, by which its guests and all its limits go.
//! - [`Load`] asks without a pause, and tells which answers failed, mixed two generations or lost state.
//! - [`Fault`] puts a trap or a loop into a component.
//!
//! The program is `wasmhost` beside the test's own or on the path; the variable `WASMHOST` names another.
//!
//! ```no_run
//! use std::path::Path;
//! use wasmhost::testing::{Load, LoadSpec, TestHost, TestProject, TestRequest};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let project = TestProject::copy_of(Path::new("components"))?;
//! let host = TestHost::start(&project)?;
//! let load = Load::start(host.url(), LoadSpec::new(TestRequest::get("/cart"), 16))?;
//!
//! project.put("shop/widget/cart.wasm", std::fs::read("target/new/cart.wasm")?)?;
//! let swapped = host.wait("swapped")?;
//! assert_eq!(swapped["generation"], 2);
//!
//! let report = load.end()?;
//! assert_eq!(report.failed.count, 0, "{:?}", report.failed.told);
//! # Ok(())
//! # }
//! ```
//!
//! A request that runs while its group is swapped ends where it began:
//!
//! ```no_run
//! # use wasmhost::testing::{TestHost, TestProject};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let project = TestProject::new()?;
//! # let host = TestHost::start(&project)?;
//! let mut upload = host.client()?.hold("/shop/upload", "first part")?;
//! project.remove("shop/widget/cart.wasm")?;
//! host.swap()?;
//! upload.send("last part");
//! assert_eq!(upload.headers["wasmhost-generation"], "shop@1");
//! upload.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! Time passes when a test says so, for guests:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use wasmhost::testing::{TestHost, TestProject};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let project = TestProject::new()?;
//! # let host = TestHost::start(&project)?;
//! let mut client = host.client()?;
//! client.get("/login?name=ada")?;
//! host.advance(Duration::from_secs(24 * 60 * 60))?;
//! assert_eq!(client.get("/account")?.status, 401);
//! # Ok(())
//! # }
//! ```
//!
//! and for the server's own limits, whatever they are: nobody waits for the thirty seconds of a drain.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use wasmhost::testing::{TestHost, TestProject};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let project = TestProject::new()?;
//! # let host = TestHost::start(&project)?;
//! let upload = host.client()?.hold("/shop/upload", "first part")?;
//! project.remove("shop/widget/cart.wasm")?;
//! host.swap()?;
//! host.advance(Duration::from_secs(30))?;
//! assert_eq!(host.wait("retired")?["aborted"], 1);
//! assert!(upload.finish().is_err());
//! # Ok(())
//! # }
//! ```
//!
//! What goes wrong in a component is told in the journal:
//!
//! ```no_run
//! # use wasmhost::testing::{Fault, FaultKind, Moment, TestHost, TestProject};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let project = TestProject::new()?;
//! # let host = TestHost::start(&project)?;
//! let fault = Fault { kind: FaultKind::Trap, on: Moment::Request };
//! let cart = project.read("shop/widget/cart.wasm")?;
//! project.put("shop/widget/cart.wasm", fault.inject(&cart)?)?;
//! host.wait("swapped")?;
//! assert_eq!(host.client()?.get("/cart")?.status, 500);
//! assert_eq!(host.wait("trapped")?["group"], "shop");
//! # Ok(())
//! # }
//! ```

mod client;
mod fault;
mod host;
mod judge;
mod load;
mod project;
mod recorded;
mod run;
mod sandbox;
pub mod scenario;
mod stop;
mod suite;
mod upgrade;

pub use self::{
    client::{HeldRequest, OpenRequest, Reply, TestClient, TestRequest},
    fault::{CannotFault, Fault, Kind as FaultKind, Moment},
    host::{Holds, HostError, HostOptions, TestHost},
    load::{Count, Load, LoadReport, LoadSpec, Rest},
    project::{TestProject, Way},
    recorded::Recording,
    run::{Failure, Outcome, Wrong, run},
    stop::Stop,
    suite::{Progress, find, run_all},
    upgrade::{Changed, SwapReport, UpgradeReport, UpgradeSpec, upgrade},
};
