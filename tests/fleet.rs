//! Servers that swap as one, over a real NATS and a real registry; and what befalls them.

mod bad_input;
mod balancer;
pub mod cable;
mod clocks;
mod cluster;
mod dashboard;
mod front;
mod growth;
mod namespace;
pub mod nats;
mod phases;

use std::{path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use self::{cable::Cable, nats::Nats};
use crate::{
    releases::push,
    support::{
        Registry, Server, Tool, Tree, wasmhost,
        wat_site::{linked_page, page, trapping_page, version},
    },
};

/// Servers give a sign of life three times as often.
const MANIFEST: &str = "[server.fleet]\nlease = \"1s\"\n";

/// A registry, a NATS, and the site that is pushed there.
struct Place {
    registry: Registry,
    nats: Nats,
    /// Where the fleet is: in that NATS, or in another.
    fleet: String,
    tree: Tree,
    states: Vec<TempDir>,
    /// How often the registry is asked.
    poll: &'static str,
}

impl Place {
    /// `None`, and loudly so, where the machine lacks something.
    fn new() -> Option<Self> {
        let registry = Registry::start()?;
        let nats = Nats::start()?;
        let tree = Tree::empty();
        tree.put("shop/page.wat", page(1, ""));
        tree.put("api/page.wat", page(1, ""));
        tree.put("wasmhost.toml", MANIFEST);
        push(&tree, &registry.release());
        let states = Vec::new();
        let fleet = nats.fleet();
        Some(Self {
            registry,
            nats,
            fleet,
            tree,
            states,
            poll: "50ms",
        })
    }

    /// Servers of the fleet, each with a state directory of its own.
    fn servers(&mut self, count: usize) -> Vec<Server> {
        (0..count).map(|_| self.server()).collect()
    }

    fn server(&mut self) -> Server {
        self.states.push(tempfile::tempdir().unwrap());
        Server::start_command(self.command(self.states.last().unwrap().path()))
    }

    fn command(&self, state: &Path) -> Command {
        self.command_over(state, &self.fleet)
    }

    fn command_over(&self, state: &Path, fleet: &str) -> Command {
        let mut command = wasmhost();
        command.env("DOCKER_CONFIG", "/nowhere").arg("serve");
        command.arg(format!("oci://{}", self.registry.release()));
        command.args(["--fleet", fleet, "--poll", self.poll]);
        command.arg("--state-dir").arg(state);
        command
    }

    /// As `command`, with the registry at another address.
    fn command_beside(&self, state: &Path, registry: &str) -> Command {
        let usual = self.command(state);
        let mut command = Command::new(usual.get_program());
        let arguments = usual.get_args().map(|argument| argument.to_str().unwrap());
        command.args(arguments.map(|argument| argument.replace(&self.registry.address, registry)));
        command.env("DOCKER_CONFIG", "/nowhere");
        command
    }

    /// Pushes this as the shop's page.
    fn push(&self, page: impl AsRef<[u8]>) {
        self.tree.put("shop/page.wat", page);
        push(&self.tree, &self.registry.release());
    }

    /// `wasmhost fleet …`: its exit code, and what it says.
    fn steer(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = wasmhost();
        command
            .env("DOCKER_CONFIG", "/nowhere")
            .arg("fleet")
            .args(arguments);
        let output = command.env("WASMHOST_FLEET", &self.fleet).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn overview(&self) -> Value {
        let (code, told, said) = self.steer(&["status", "--json"]);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&told).unwrap()
    }
}

/// Waits until a server serves this commit.
fn committed(server: &mut Server, number: u64) -> Value {
    let is_it = |event: &Value| event["event"] == "committed" && event["number"] == number;
    if let Some(event) = server.seen().iter().find(|event| is_it(event)) {
        return event.clone();
    }
    let event = server.wait_for("committed", is_it);
    // It may be asked for again.
    server.put_back(event.clone());
    event
}

fn all_committed(servers: &mut [Server], number: u64, shop: u64) {
    for server in servers {
        committed(server, number);
        assert_eq!(version(&mut server.client(), "shop"), shop);
    }
}

#[test]
fn a_release_is_served_by_all_or_by_nobody() {
    let Some(mut place) = Place::new() else { return };
    let mut servers = place.servers(3);
    all_committed(&mut servers, 1, 1);

    place.push(page(2, ""));
    all_committed(&mut servers, 2, 2);
    let overview = place.overview();
    assert_eq!(overview["number"], 2);
    let nodes = overview["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["is_current"] == true), "{overview}");
    let (code, listed, said) = place.steer(&["nodes"]);
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = listed.trim_end().lines().collect();
    assert!(
        lines.len() == 4 && lines[0].trim_start().starts_with("node"),
        "{listed}"
    );
    for server in &servers {
        let node = format!(":{} ", server.pid());
        let line = lines.iter().find(|line| line.contains(&node)).expect("is listed");
        assert!(line.contains("sha256:") && line.contains(" current "), "{line}");
    }
    let (_, listed, _) = place.steer(&["nodes", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["nodes"].as_array().unwrap().len(), 3, "{listed}");

    // It does not fit together: nobody serves it, and all say why.
    place.push(linked_page(3));
    for server in &mut servers {
        let refused = server.wait("refused");
        assert_eq!(refused["diagnostics"][0]["code"], "import-missing", "{refused}");
        assert_eq!(version(&mut server.client(), "shop"), 2);
    }
    let (code, _, said) = place.steer(&["release", &place.registry.release()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error[fleet-refused]") && said.contains("error[import-missing]"),
        "{said}"
    );
    let (code, told, _) = place.steer(&["release", &place.registry.release(), "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["outcome"]), (Some(1), &"refused".into()), "{told}");
    assert_eq!(told["diagnostics"][0]["code"], "import-missing", "{told}");
    let pid = told["node"].as_str().unwrap().rsplit_once(':').unwrap().1;
    assert!(
        servers.iter().any(|server| server.pid().to_string() == pid),
        "{told}"
    );

    place.push(page(4, ""));
    all_committed(&mut servers, 3, 4);
    let (code, told, said) = place.steer(&["rollback"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.starts_with("committed 4: sha256:"), "{told}");
    all_committed(&mut servers, 4, 2);
    let (code, told, said) = place.steer(&["release", &place.registry.release(), "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["outcome"], &told["number"]),
        (&"committed".into(), &5.into()),
        "{told}"
    );
    all_committed(&mut servers, 5, 4);
    let (code, told, said) = place.steer(&["rollback", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["outcome"], &told["number"]),
        (&"committed".into(), &6.into()),
        "{told}"
    );
    assert_eq!(place.overview()["committed"], told["release"]);
    all_committed(&mut servers, 6, 2);
    let (_, status, _) = place.steer(&["status"]);
    assert!(
        status.contains("committed 6: sha256:") && status.contains("current"),
        "{status}"
    );

    let state = place.states[0].path().to_str().unwrap();
    let own = wasmhost()
        .args(["status", "--json", "--state-dir", state])
        .output()
        .unwrap();
    let own: Value = serde_json::from_slice(&own.stdout).unwrap();
    assert_eq!(
        (&own["fleet"]["event"], &own["fleet"]["number"]),
        (&"committed".into(), &6.into())
    );

    // Who comes later begins with what is committed.
    let late = place.server();
    assert_eq!(version(&mut late.client(), "shop"), 2);
    // And nobody else is told what to serve.
    let state = place.states.last().unwrap().path().to_str().unwrap();
    let output = wasmhost().args(["swap", "--state-dir", state]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("error[fleet-member]"),
        "{said}"
    );
}

#[test]
fn a_group_that_is_gone_goes_everywhere() {
    let Some(mut place) = Place::new() else { return };
    let mut servers = place.servers(2);
    all_committed(&mut servers, 1, 1);
    std::fs::remove_dir_all(place.tree.path("api")).unwrap();
    push(&place.tree, &place.registry.release());
    for server in &mut servers {
        committed(server, 2);
        assert_eq!(server.client().get("/api/page").status, 404);
        assert_eq!(version(&mut server.client(), "shop"), 1);
    }
}

#[test]
fn who_is_stopped_or_killed_in_mid_swap_is_not_waited_for_and_catches_up() {
    let Some(mut place) = Place::new() else { return };
    let mut servers = place.servers(4);
    all_committed(&mut servers, 1, 1);
    let mut stopped = servers.pop().unwrap();
    let killed = servers.pop().unwrap();
    stopped.signal("STOP");
    killed.signal("STOP");
    place.push(page(2, ""));
    // The swap is under way: the others wait for the lease of the two.
    drop(killed);
    all_committed(&mut servers, 2, 2);
    stopped.signal("CONT");
    committed(&mut stopped, 2);
    assert_eq!(version(&mut stopped.client(), "shop"), 2);
    // Who was killed comes back, and has what the others have before it accepts.
    let state = place.states[2].path();
    let back = Server::start_command(place.command(state));
    assert_eq!(version(&mut back.client(), "shop"), 2);
}

#[test]
fn who_is_cut_off_serves_what_it_has_and_catches_up() {
    let Some(mut place) = Place::new() else { return };
    let cable = Cable::to(place.nats.address());
    let state = tempfile::tempdir().unwrap();
    let fleet = format!("nats://{}/site", cable.address());
    // It begins first, so it leads: whoever decides may be cut off, too.
    let mut apart = Server::start_command(place.command_over(state.path(), &fleet));
    let mut servers = place.servers(2);
    all_committed(&mut servers, 1, 1);
    committed(&mut apart, 1);
    cable.cut();
    place.push(page(2, ""));
    all_committed(&mut servers, 2, 2);
    let stale = apart.wait("stale");
    assert!(
        stale["reason"].as_str().unwrap().contains("out of touch"),
        "{stale}"
    );
    assert_eq!(version(&mut apart.client(), "shop"), 1);
    cable.mend();
    committed(&mut apart, 2);
    assert_eq!(version(&mut apart.client(), "shop"), 2);
}

#[test]
fn without_nats_the_last_release_serves_and_it_recovers_by_itself() {
    let Some(mut place) = Place::new() else { return };
    let mut servers = place.servers(3);
    all_committed(&mut servers, 1, 1);
    place.nats.kill();
    for server in &mut servers {
        let stale = server.wait("stale");
        assert!(
            stale["reason"].as_str().unwrap().contains("out of touch"),
            "{stale}"
        );
        assert_eq!(version(&mut server.client(), "shop"), 1);
    }
    place.push(page(2, ""));
    // A restart serves the last release, at once.
    drop(servers.pop());
    let restarted = Server::start_command(place.command(place.states[2].path()));
    restarted.wait_for_log("is not reached: the last release serves: sha256:");
    assert_eq!(version(&mut restarted.client(), "shop"), 1);
    servers.push(restarted);
    // Who never served anything has nothing to serve.
    let empty = tempfile::tempdir().unwrap();
    let output = place.command(empty.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("error[fleet-unreachable]"), "{said}");

    place.nats.revive();
    all_committed(&mut servers, 2, 2);
}

#[test]
fn what_is_reverted_by_one_is_taken_back_by_all() {
    let Some(mut place) = Place::new() else { return };
    let manifest = format!("{MANIFEST}[groups.shop.swap]\nprobation = {{ requests = 100, traps = 1 }}\n");
    place.tree.put("wasmhost.toml", &manifest);
    push(&place.tree, &place.registry.release());
    let mut servers = place.servers(3);
    all_committed(&mut servers, 1, 1);
    place.push(trapping_page(2, 0));
    servers.iter_mut().for_each(|server| drop(committed(server, 2)));
    servers[1].client().get("/shop/page");
    all_committed(&mut servers, 3, 1);
    let refused = place.overview();
    assert_eq!(refused["refused"][0]["commit"], 2, "{refused}");
}

#[test]
fn who_is_not_let_in_is_told_so() {
    let Some(registry) = Registry::start() else { return };
    let Some(nats) = Nats::start_with("authorization { user: ann, password: secret }\n") else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(1, ""));
    push(&tree, &registry.release());
    let serve = |login: &str| {
        let mut command = wasmhost();
        command.env("DOCKER_CONFIG", "/nowhere").arg("serve");
        command.arg(format!("oci://{}", registry.release()));
        command.arg("--state-dir").arg(state.path());
        command.env("WASMHOST_FLEET", nats.fleet_as(login));
        command
    };
    for login in ["", "ann:wrong@"] {
        let output = serve(login).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("error[fleet-unauthorized]") && !said.contains("wrong"),
            "{said}"
        );
    }
    let mut server = Server::start_command(serve("ann:secret@"));
    committed(&mut server, 1);

    let output = wasmhost()
        .args(["serve", "--fleet", "127.0.0.1:4222"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = wasmhost()
        .args(["serve", ".", "--fleet", "nats://127.0.0.1:1/site"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("error[fleet-release]"),
        "{said}"
    );
}

#[test]
fn the_example_for_kubernetes_is_what_it_understands() {
    let Some(tool) = Tool::known_by("kubernetes-validate", "--help") else {
        return;
    };
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/runtime/deploy/kubernetes.yaml");
    tool.run(&["--strict", example]);
}
