//! From one tree to another and back, under load, without a scenario: what fails, what is mixed, what is
//! refused, and which answers change.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use walkdir::WalkDir;

use super::{
    client::{Reply, TestClient, TestRequest},
    host::{Holds, HostError, HostOptions, TestHost},
    load::{Load, LoadReport, LoadSpec, difference},
    project::{TestProject, Way},
    run::Wrong,
    sandbox::Sandbox,
    stop::Stop,
};
use crate::project::MANIFEST;

/// What an upgrade is tried out with.
#[derive(Clone, Debug)]
pub struct UpgradeSpec {
    pub old: PathBuf,
    pub new: PathBuf,
    /// Asked all the time; where there are none, one for each route of a page.
    pub requests: Vec<TestRequest>,
    pub clients: usize,
    pub program: Option<PathBuf>,
    pub stop: Stop,
}

/// What came of it.
#[derive(Debug)]
pub struct UpgradeReport {
    /// Different requests that were asked.
    pub requests: usize,
    /// Requests that fail on the old tree already, and were not asked any more.
    pub failing_before: Vec<String>,
    /// Requests that are not answered the same every time by one generation: what is mixed or changed in
    /// their bodies cannot be told.
    pub unsteady: Vec<String>,
    /// To the new tree, and back.
    pub swaps: [SwapReport; 2],
    pub load: LoadReport,
    pub changed: Vec<Changed>,
}

#[derive(Debug)]
pub struct SwapReport {
    /// From the order until all is served or refused.
    pub took: Duration,
    /// The `swapped` events.
    pub swapped: Vec<Value>,
    /// The `rejected` events.
    pub rejected: Vec<Value>,
    pub before: Holds,
    pub after: Holds,
}

/// A request that the new tree answers otherwise.
#[derive(Debug)]
pub struct Changed {
    pub request: String,
    pub what: String,
}

impl UpgradeReport {
    /// Whether all went well: answers may change.
    pub fn is_sound(&self) -> bool {
        let refused = self.swaps.iter().any(|swap| !swap.rejected.is_empty());
        let mixed = self.load.mixed.as_ref().is_some_and(|mixed| mixed.count > 0);
        !refused && !mixed && self.load.failed.count == 0
    }
}

/// Serves the old tree from a copy, loads it, and swaps to the new one and back.
///
/// # Errors
/// The old tree cannot be served at all.
pub fn upgrade(spec: &UpgradeSpec) -> Result<UpgradeReport, Wrong> {
    let [served, old, new] = [&spec.old, &spec.old, &spec.new].map(|tree| Sandbox::of(tree, &[]));
    let (served, old, new) = (served?.project, old?.project, new?.project);
    let options = HostOptions {
        program: spec.program.clone(),
        // All files of a version are there when it is told to look.
        arguments: vec!["--frozen".into()],
        stop: spec.stop.clone(),
        ..HostOptions::default()
    };
    let host = TestHost::start_with(&served, &options)?;
    let mut client = host.client().map_err(no_client)?;
    let asked = if spec.requests.is_empty() {
        by_routes(&host.events())
    } else {
        spec.requests.clone()
    };
    let mut failing_before = Vec::new();
    let mut known = Vec::new();
    for request in asked {
        match Known::ask(&mut client, request) {
            Ok(request) => known.push(request),
            Err(what) => failing_before.push(what),
        }
    }
    if known.is_empty() {
        return Err(Wrong::new(
            "a request that the old tree answers",
            format!("none{}", listed(&failing_before)),
        ));
    }
    let requests: Vec<TestRequest> = known.iter().map(|known| known.request.clone()).collect();
    let rounds = requests.len().div_ceil(spec.clients.max(1)) + 1;
    let load = LoadSpec {
        requests,
        ..LoadSpec::new(TestRequest::get("/"), spec.clients)
    };
    let load = Load::start(host.url(), load)
        .map_err(|error| Wrong::new("answers to begin with", error.to_string()))?;
    go_on(&load, rounds, spec)?;
    let there = swap(&host, &served, &new)?;
    go_on(&load, rounds, spec)?;
    let changed = known
        .iter()
        .filter_map(|known| known.changed(&mut client))
        .collect();
    let back = swap(&host, &served, &old)?;
    go_on(&load, rounds, spec)?;
    let unsteady = known.iter().filter(|known| !known.steady);
    Ok(UpgradeReport {
        requests: known.len(),
        failing_before,
        unsteady: unsteady.map(Known::name).collect(),
        swaps: [there, back],
        load: load
            .end()
            .map_err(|error| Wrong::new("an end of the load", error.to_string()))?,
        changed,
    })
}

/// Errors: it was stopped.
fn go_on(load: &Load, rounds: usize, spec: &UpgradeSpec) -> Result<(), Wrong> {
    load.go_on(rounds);
    match spec.stop.is_ordered() {
        true => Err(Wrong::machine("the end of the trial", "it was stopped")),
        false => Ok(()),
    }
}

fn no_client(error: io::Error) -> Wrong {
    HostError::Io(error).into()
}

fn listed(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n{line}")).collect()
}

/// A request and how the old tree answers it.
struct Known {
    request: TestRequest,
    reply: Reply,
    /// Twice the same.
    steady: bool,
}

impl Known {
    /// Errors: that it fails, in words.
    fn ask(client: &mut TestClient, request: TestRequest) -> Result<Self, String> {
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", name(&request));
        let mut ask = || {
            let reply = client.send(&request).map_err(|error| failed(&error))?;
            match reply.status {
                status if status.is_server_error() => Err(failed(&status)),
                _ => Ok(reply),
            }
        };
        let (first, reply) = (ask()?, ask()?);
        Ok(Self {
            steady: first.body == reply.body,
            reply,
            request,
        })
    }

    fn name(&self) -> String {
        name(&self.request)
    }

    fn changed(&self, client: &mut TestClient) -> Option<Changed> {
        let what = match client.send(&self.request) {
            Err(error) => error.to_string(),
            Ok(reply) if reply.status != self.reply.status => {
                format!(
                    "status {} and {}",
                    self.reply.status.as_u16(),
                    reply.status.as_u16()
                )
            }
            Ok(reply) if self.steady && reply.body != self.reply.body => {
                difference(&self.reply.text(), &reply.text())
            }
            Ok(_) => return None,
        };
        Some(Changed {
            request: self.name(),
            what,
        })
    }
}

fn name(request: &TestRequest) -> String {
    format!("{} {}", request.method, request.path)
}

/// One request for each route of a page; what is variable in it is `1`.
fn by_routes(events: &[Value]) -> Vec<TestRequest> {
    let groups = events.iter().filter(|event| event["event"] == "ready");
    let groups = groups.flat_map(|ready| ready["groups"].as_array().into_iter().flatten());
    let routes = groups.flat_map(|group| group["routes"].as_array().into_iter().flatten());
    let patterns: BTreeSet<&str> = routes.filter_map(|route| route["pattern"].as_str()).collect();
    let filled = |pattern: &str| {
        let segments = pattern
            .split('/')
            .map(|segment| if segment.starts_with('{') { "1" } else { segment });
        segments.collect::<Vec<_>>().join("/")
    };
    patterns
        .into_iter()
        .map(|pattern| TestRequest::get(filled(pattern)))
        .collect()
}

/// Puts one tree in the place of what is served, and has it served.
fn swap(host: &TestHost, served: &TestProject, next: &TestProject) -> Result<SwapReport, Wrong> {
    let before = host.holds().map_err(no_client)?;
    let seen = host.events().len();
    replace(served, next).map_err(no_client)?;
    let began = Instant::now();
    host.swap()?;
    let took = began.elapsed();
    let events = host.events();
    let named = |name: &str| -> Vec<Value> {
        let new = events.iter().skip(seen);
        new.filter(|event| event["event"] == name).cloned().collect()
    };
    Ok(SwapReport {
        took,
        swapped: named("swapped"),
        rejected: named("rejected"),
        before,
        after: host.holds().map_err(no_client)?,
    })
}

/// Makes the files of one tree those of another; what is equal is left alone.
fn replace(served: &TestProject, next: &TestProject) -> io::Result<()> {
    let wanted = files(&next.root())?;
    for file in files(&served.root())?.difference(&wanted) {
        served.remove(file)?;
    }
    // The manifest last: it may name what has to be there.
    let (manifest, others): (Vec<_>, Vec<_>) = wanted
        .iter()
        .partition(|file| file.as_path() == Path::new(MANIFEST));
    for file in others.into_iter().chain(manifest) {
        let content = next.read(file)?;
        if fs::read(served.path(file)).ok().as_ref() != Some(&content) {
            served.write(file, content, Way::Rename)?;
        }
    }
    Ok(())
}

fn files(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in WalkDir::new(root) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(root).map_err(io::Error::other)?;
            files.insert(relative.to_owned());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_route_gets_a_request() {
        let routes = ["/", "/items/{id}", "/api/{*rest}", "/items/{id}/edit"]
            .map(|pattern| json!({ "pattern": pattern }));
        let ready = json!({ "event": "ready", "groups": [{ "group": "shop", "routes": routes }] });
        let paths: Vec<String> = by_routes(&[ready])
            .into_iter()
            .map(|request| request.path)
            .collect();
        assert_eq!(paths, ["/", "/api/1", "/items/1", "/items/1/edit"]);
    }
}
