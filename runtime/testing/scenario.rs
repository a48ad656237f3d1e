//! A scenario: what is done to a tree that is being served, step by step, and what must come of it.
//! `read` makes it from a file. Data alone.

mod read;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

pub use self::read::{inside, read};
use super::{
    client::TestRequest,
    fault::{Kind, Moment},
    project::Way,
};
use crate::project::toml_reader::Placed;

/// How a scenario's file is named.
pub const ENDING: &str = ".reload.toml";

#[derive(Clone, Debug)]
pub struct Scenario {
    pub file: PathBuf,
    /// The file's name without its ending, where it says none.
    pub name: String,
    /// Copied before it is served.
    pub tree: PathBuf,
    /// How long a step may take where it does not say.
    pub within: Duration,
    /// The environment of the server.
    pub env: BTreeMap<String, String>,
    /// Of the origins that the tree grants, those that its guests may really reach.
    pub http: Vec<String>,
    /// In file order.
    pub steps: Vec<Placed<Step>>,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// `None` as the scenario has it.
    pub within: Option<Duration>,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    Request {
        request: TestRequest,
        repeat: u64,
        expect: Expect,
    },
    /// Begins a request whose body does not end before it is released.
    Hold(TestRequest),
    /// Ends the body of what was held first, and takes its answer.
    Release(Expect),
    Load {
        request: TestRequest,
        clients: usize,
        marks: Vec<String>,
        counter: Option<String>,
    },
    ExpectLoad(ExpectLoad),
    Put {
        files: Vec<(PathBuf, Source)>,
        way: Way,
    },
    Remove(Vec<PathBuf>),
    Touch(Vec<PathBuf>),
    /// The clock is moved on.
    Advance(Duration),
    Wait {
        event: String,
        /// What the event has to have: its group, its generation.
        group: Option<String>,
        generation: Option<u64>,
    },
    ExpectEvents {
        group: Option<String>,
        counts: BTreeMap<String, u64>,
    },
    Status {
        group: String,
        expect: ExpectStatus,
    },
    Fault {
        kind: Kind,
        on: Moment,
        /// Dotted: `shop.widget.cart`.
        component: String,
    },
}

/// Where a file's content comes from.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    Text(String),
}

/// What an answer must be. Nothing expected is a status below 500.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    pub status: Option<u16>,
    pub body: Option<String>,
    pub body_contains: Vec<String>,
    pub headers: BTreeMap<String, String>,
}

/// At most so many.
#[derive(Clone, Debug, Default)]
pub struct ExpectLoad {
    pub failed: Option<u64>,
    pub mixed: Option<u64>,
    pub lost_state: Option<u64>,
    /// At least so many answers.
    pub answers: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct ExpectStatus {
    pub generation: Option<u64>,
    /// Whether what lies on disk is refused.
    pub rejected: Option<bool>,
    /// Older generations that still run.
    pub draining: Option<u64>,
    pub in_flight: Option<u64>,
}

impl Action {
    /// As a person calls it: `request GET /shop/cart`.
    pub fn describe(&self) -> String {
        let listed = |files: &[PathBuf]| {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            files.join(", ")
        };
        match self {
            Self::Request { request, repeat, .. } => {
                let times = match repeat {
                    1 => String::new(),
                    repeat => format!(", {repeat} times"),
                };
                format!("request {} {}{times}", request.method, request.path)
            }
            Self::Hold(request) => format!("hold {} {}", request.method, request.path),
            Self::Release(_) => "release".into(),
            Self::Load { request, clients, .. } => {
                format!("load {} {} by {clients} clients", request.method, request.path)
            }
            Self::ExpectLoad(_) => "expect-load".into(),
            Self::Put { files, .. } => {
                let files: Vec<PathBuf> = files.iter().map(|(file, _)| file.clone()).collect();
                format!("put {}", listed(&files))
            }
            Self::Remove(files) => format!("remove {}", listed(files)),
            Self::Touch(files) => format!("touch {}", listed(files)),
            Self::Advance(by) => format!("advance by {}", humantime::format_duration(*by)),
            Self::Wait {
                event,
                group,
                generation,
            } => {
                let group = group.as_ref().map(|group| format!(" of {group}"));
                let generation = generation.map(|number| format!(", generation {number}"));
                format!(
                    "wait for {event}{}{}",
                    group.unwrap_or_default(),
                    generation.unwrap_or_default()
                )
            }
            Self::ExpectEvents { .. } => "expect-events".into(),
            Self::Status { group, .. } => format!("status of {group}"),
            Self::Fault { kind, on, component } => {
                format!("fault {kind:?} of {component} on {on:?}").to_lowercase()
            }
        }
    }
}
