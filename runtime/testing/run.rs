//! One scenario from its first step to its last, or to the one that does not come true. Knows neither how
//! many others run nor how they are reported.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    client::{OpenRequest, Reply, TestClient, TestRequest},
    fault::Fault,
    host::{HostError, HostOptions, TestHost},
    judge,
    load::{Load, LoadSpec, Rest},
    project::Way,
    sandbox::{Sandbox, Unconfined},
    scenario::{Action, Expect, ExpectLoad, Scenario, Source, Step},
    stop::Stop,
};
use crate::project::{Instances, Project, State};

/// How often it is looked whether a state has come.
const LOOK: Duration = Duration::from_millis(10);
/// So many answers each client gets before a load is judged.
const LAST_ROUNDS: usize = 2;

/// What came of a scenario.
#[derive(Debug)]
pub struct Outcome {
    pub file: PathBuf,
    pub name: String,
    pub took: Duration,
    pub failure: Option<Failure>,
    /// The events of the server, as its journal has them.
    pub journal: Vec<Value>,
    /// What it logged.
    pub log: String,
}

/// A step that did not come true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of the step, in the scenario's file, where it was one.
    pub line: Option<u32>,
    /// What it does: `request GET /shop/cart`.
    pub step: String,
    pub wrong: Wrong,
}

/// What was to come, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub expected: String,
    pub found: String,
    /// The machine is at fault, not the components.
    pub machine: bool,
}

impl Wrong {
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            found: found.into(),
            machine: false,
        }
    }

    pub(super) fn machine(expected: impl Into<String>, error: impl ToString) -> Self {
        Self {
            machine: true,
            ..Self::new(expected, error.to_string())
        }
    }
}

impl From<Unconfined> for Wrong {
    fn from(error: Unconfined) -> Self {
        match error {
            Unconfined::Outside(..) => Self::new("a tree that stays in its folder", error.to_string()),
            Unconfined::Io(..) => Self::machine("a copy of the tree", error),
        }
    }
}

impl From<HostError> for Wrong {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Start(..) | HostError::Io(_) => Self::machine("a running server", error),
            _ => Self::new("a running server", error.to_string()),
        }
    }
}

/// Runs `scenario` on a copy of its tree, by a server of its own, until `stop` is ordered.
pub fn run(scenario: &Scenario, program: Option<&Path>, stop: &Stop) -> Outcome {
    let began = Instant::now();
    let mut journal = Vec::new();
    let mut log = String::new();
    let failure = match Stage::set(scenario, program, stop) {
        Err(wrong) => Some(Failure {
            line: None,
            step: "start".into(),
            wrong,
        }),
        Ok(mut stage) => {
            let failure = stage.play();
            journal = stage.host.events();
            log = stage.host.log();
            failure
        }
    };
    Outcome {
        file: scenario.file.clone(),
        name: scenario.name.clone(),
        took: began.elapsed(),
        failure,
        journal,
        log,
    }
}

fn no_answer(error: std::io::Error) -> Wrong {
    Wrong::new("an answer", format!("none: {error}"))
}

/// What a scenario is played on. Loads end before the host does.
struct Stage<'s> {
    scenario: &'s Scenario,
    stop: &'s Stop,
    /// Each with the number of events before it.
    loads: Vec<(Load, usize)>,
    /// The eldest first.
    held: VecDeque<OpenRequest>,
    client: TestClient,
    host: TestHost,
    sandbox: Sandbox,
}

impl<'s> Stage<'s> {
    fn set(scenario: &'s Scenario, program: Option<&Path>, stop: &'s Stop) -> Result<Self, Wrong> {
        let sandbox = Sandbox::of(&scenario.tree, &scenario.http)?;
        let options = HostOptions {
            program: program.map(Path::to_owned),
            env: scenario.env.clone().into_iter().collect(),
            stop: stop.clone(),
            ..HostOptions::default()
        };
        let host = TestHost::start_with(&sandbox.project, &options)?;
        let client = host.client().map_err(|error| Wrong::machine("a client", error))?;
        Ok(Self {
            scenario,
            stop,
            loads: Vec::new(),
            held: VecDeque::new(),
            client,
            host,
            sandbox,
        })
    }

    fn play(&mut self) -> Option<Failure> {
        let steps = &self.scenario.steps;
        steps.iter().find_map(|step| {
            let wrong = self.act(step).err()?;
            Some(Failure {
                line: Some(step.position.line),
                step: step.action.describe(),
                wrong,
            })
        })
    }

    /// Errors: it was stopped.
    fn go_on(&self) -> Result<(), Wrong> {
        match self.stop.is_ordered() {
            true => Err(Wrong::machine("the end of the scenario", "it was stopped")),
            false => Ok(()),
        }
    }

    fn act(&mut self, step: &Step) -> Result<(), Wrong> {
        let within = step.within.unwrap_or(self.scenario.within);
        self.go_on()?;
        match &step.action {
            Action::Request {
                request,
                repeat,
                expect,
            } => {
                for _ in 0..*repeat {
                    // Without a time it has to be right at once.
                    let within = step.within.unwrap_or(Duration::ZERO);
                    self.until(within, |stage| judge::reply(expect, &stage.ask(request)?))?;
                }
                Ok(())
            }
            Action::Hold(request) => self.hold(request, within),
            Action::Release(expect) => self.release(expect),
            Action::Load {
                request,
                clients,
                marks,
                counter,
            } => self.load(LoadSpec {
                marks: marks.clone(),
                counter: counter.clone(),
                ..LoadSpec::new(request.clone(), *clients)
            }),
            Action::ExpectLoad(expect) => self.expect_load(expect),
            Action::Put { files, way } => {
                for (file, source) in files {
                    self.put(file, source, *way)?;
                }
                Ok(())
            }
            Action::Remove(files) => self.each(files, |stage, file| stage.sandbox.project.remove(file)),
            Action::Touch(files) => self.each(files, |stage, file| stage.sandbox.project.touch(file)),
            Action::Advance(by) => {
                // What they have under way would have taken as much longer.
                let _rests: Vec<Rest<'_>> = self.loads.iter().map(|(load, _)| load.rest()).collect();
                Ok(self.host.advance(*by).map(drop)?)
            }
            Action::Wait {
                event,
                group,
                generation,
            } => self.wait(event, group.as_deref(), *generation, within),
            Action::ExpectEvents { group, counts } => {
                // Once this is answered, all that lies on disk is served or refused.
                self.host.swap()?;
                self.until(within, |stage| {
                    judge::events(group.as_deref(), counts, &stage.host.events())
                })
            }
            Action::Status { group, expect } => self.until(within, |stage| {
                judge::status(group, expect, &stage.host.status()?)
            }),
            Action::Fault { kind, on, component } => self.inject(component, Fault { kind: *kind, on: *on }),
        }
    }

    /// Tries until it comes true, or the time is over.
    fn until(
        &mut self,
        within: Duration,
        mut attempt: impl FnMut(&mut Self) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let deadline = Instant::now() + within;
        loop {
            self.go_on()?;
            match attempt(self) {
                Err(wrong) if Instant::now() >= deadline && within.is_zero() => return Err(wrong),
                Err(mut wrong) if Instant::now() >= deadline => {
                    wrong.expected += &format!(", within {}", humantime::format_duration(within));
                    return Err(wrong);
                }
                Err(_) => std::thread::park_timeout(LOOK),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn ask(&mut self, request: &TestRequest) -> Result<Reply, Wrong> {
        let answered = self.client.send(request);
        answered.map_err(no_answer)
    }

    fn load(&mut self, spec: LoadSpec) -> Result<(), Wrong> {
        let load = Load::start(self.host.url(), spec);
        let load = load.map_err(|error| Wrong::new("answers to begin with", error.to_string()))?;
        self.loads.push((load, self.host.events().len()));
        Ok(())
    }

    fn expect_load(&mut self, expect: &ExpectLoad) -> Result<(), Wrong> {
        for (load, before) in std::mem::take(&mut self.loads) {
            let goes_on = load.go_on(LAST_ROUNDS);
            let report = load.end();
            let report = report.map_err(|error| Wrong::new("an end of the load", error.to_string()))?;
            judge::load(expect, &report, goes_on)?;
            if let (Some(most), None) = (expect.lost_state, report.lost_state) {
                let events = self.host.events();
                judge::forgotten(most, &report, &events[before..], &self.forgetful())?;
            }
        }
        Ok(())
    }

    /// The groups whose state a swap does not hand over.
    fn forgetful(&self) -> BTreeSet<String> {
        let groups = Project::discover(&self.sandbox.project.root()).map(|project| project.groups);
        let groups = groups.into_iter().flatten();
        let specs = groups.filter_map(|(name, spec)| Some((name, spec.ok()?)));
        let fresh =
            specs.filter(|(_, spec)| spec.state == State::Fresh && spec.instances != Instances::Isolated);
        fresh.map(|(name, _)| name).collect()
    }

    /// Begins a request, and waits until the server has it under way.
    fn hold(&mut self, request: &TestRequest, within: Duration) -> Result<(), Wrong> {
        let client = self.host.client();
        let client = client.map_err(|error| Wrong::machine("a client", error))?;
        self.held.push_back(client.begin(request.clone()));
        let held = self.held.len() as u64;
        self.until(within, |stage| judge::under_way(held, &stage.host.status()?))
    }

    fn release(&mut self, expect: &Expect) -> Result<(), Wrong> {
        let nothing = || Wrong::new("a request that is held", "none");
        let reply = self.held.pop_front().ok_or_else(nothing)?.finish();
        judge::reply(expect, &reply.map_err(no_answer)?)
    }

    fn put(&self, file: &Path, source: &Source, way: Way) -> Result<(), Wrong> {
        let (content, base) = match source {
            Source::Text(text) => (text.clone().into_bytes(), self.scenario.tree.clone()),
            Source::File(source) => {
                let content = fs::read(source);
                let missing = |error| {
                    let found = format!("{error}");
                    Wrong::new(format!("a file {}", source.display()), found)
                };
                let base = source.parent().unwrap_or(Path::new("")).to_owned();
                (content.map_err(missing)?, base)
            }
        };
        Ok(self.sandbox.put(file, &content, &base, way)?)
    }

    fn each(
        &self,
        files: &[PathBuf],
        act: impl Fn(&Self, &Path) -> std::io::Result<()>,
    ) -> Result<(), Wrong> {
        for file in files {
            let missing = |error| {
                Wrong::new(
                    format!("a file {} in the tree", file.display()),
                    format!("{error}"),
                )
            };
            act(self, file).map_err(missing)?;
        }
        Ok(())
    }

    fn wait(
        &self,
        event: &str,
        group: Option<&str>,
        generation: Option<u64>,
        within: Duration,
    ) -> Result<(), Wrong> {
        let matches = |found: &Value| {
            group.is_none_or(|group| found["group"] == group)
                && generation.is_none_or(|number| found["generation"] == number)
        };
        match self.host.wait_for(event, within, matches) {
            Ok(_) => Ok(()),
            Err(HostError::TooLate { .. }) => Err(Wrong::new(
                format!(
                    "an event {event}{} within {}",
                    judge::of(group, generation),
                    humantime::format_duration(within)
                ),
                format!("none; {}", judge::told(&self.host.events())),
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn inject(&self, component: &str, fault: Fault) -> Result<(), Wrong> {
        let missing = || Wrong::new(format!("a component {component} in the tree"), "none");
        let file = self.sandbox.component(component).ok_or_else(missing)?;
        let project = &self.sandbox.project;
        let content = project
            .read(&file)
            .map_err(|error| Wrong::machine("a component", error))?;
        let cannot = |error: String| Wrong::new(format!("a component {component} that can go wrong"), error);
        let binary = wat::parse_bytes(&content).map_err(|error| cannot(error.to_string()))?;
        let faulty = fault.inject(&binary).map_err(|error| cannot(error.to_string()))?;
        let written = project.put(&file, faulty);
        written.map_err(|error| Wrong::machine("a component with a fault", error))
    }
}
