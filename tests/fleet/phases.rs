//! What befalls a node, the node that leads, or NATS, at every phase of a swap, and what comes of it.
//!
//! ```sh
//! WASMHOST_FLEET_PHASES=1 cargo test fleet::phases -- --nocapture    # all of the table
//! ```

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    cable::Cable,
    committed,
    namespace::{Line, Namespace},
    nats::Nats,
};
use crate::{
    releases::push,
    support::{
        Registry, Server, Tree, skipped, unprivileged, wasmhost,
        wat_site::{page, version},
    },
};

const NODES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// One that does not lead.
    Node,
    Leader,
    Nats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// kill -9
    Kill,
    /// SIGSTOP
    Stop,
    /// Nothing passes between it and the others.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is wanted yet.
    Before,
    /// It is at pulling; where NATS is struck, one of the nodes is.
    Preparing,
    /// It is ready, and another is not.
    Ready,
    /// The last one becomes ready at that moment.
    Commit,
    /// It serves the new release.
    After,
}

/// What comes of it, before it is mended. Afterwards all always serve the new release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// The others serve the new release; it serves the old one, if it can.
    WithoutIt,
    /// All go on with the old one, and say that they are stale.
    Old,
    /// All serve the new one.
    New,
    /// Each that runs serves the old or the new one: the commit came through or did not.
    Either,
}

use self::{
    Fault::{Cut, Kill, Stop},
    Meanwhile::{Either, New, Old, WithoutIt},
    Phase::{After, Before, Commit, Preparing, Ready},
    Whom::{Leader, Nats as Broker, Node},
};

const OUTCOMES: [(Whom, Phase, Meanwhile); 15] = [
    (Node, Before, WithoutIt),
    (Node, Preparing, WithoutIt),
    (Node, Ready, WithoutIt),
    (Node, Commit, Either),
    (Node, After, New),
    (Leader, Before, WithoutIt),
    (Leader, Preparing, WithoutIt),
    (Leader, Ready, WithoutIt),
    (Leader, Commit, Either),
    (Leader, After, New),
    (Broker, Before, Old),
    (Broker, Preparing, Old),
    (Broker, Ready, Old),
    (Broker, Commit, Either),
    (Broker, After, New),
];

/// What each test run has time for.
const SOME: [(Whom, Phase, Fault); 4] = [
    (Leader, Ready, Kill),
    (Node, Preparing, Stop),
    (Broker, Ready, Cut),
    (Leader, Commit, Cut),
];

/// Three servers, each with ways of its own to the registry and to NATS.
struct Field {
    servers: Vec<Server>,
    to_registry: Vec<Cable>,
    /// And one more, for us.
    to_nats: Vec<Line>,
    states: Vec<TempDir>,
    tree: Tree,
    registry: Registry,
    nats: Nats,
    _namespace: Option<Namespace>,
    /// Of the last commit; its page's version, too.
    number: u64,
}

impl Field {
    fn new() -> Option<Self> {
        let registry = Registry::start()?;
        let namespace = Namespace::new(NODES as u8 + 1);
        if namespace.is_none() {
            unprivileged(
                "partitions by network namespaces",
                "a proxy that lets nothing pass stands in",
            );
        }
        let nats = Nats::start_in(namespace.as_ref().map(|namespace| namespace.name.as_str()))?;
        let port = nats.address().rsplit_once(':').unwrap().1;
        let to_nats = match &namespace {
            Some(namespace) => namespace.lines(port),
            None => (0..=NODES)
                .map(|_| Line::Cable(Cable::to(nats.address())))
                .collect(),
        };
        let tree = Tree::empty();
        tree.put("shop/page.wat", page(1, ""));
        tree.put("wasmhost.toml", "[server.fleet]\nlease = \"2s\"\n");
        push(&tree, &registry.release());
        let mut field = Self {
            servers: Vec::new(),
            to_registry: (0..NODES).map(|_| Cable::to(&registry.address)).collect(),
            to_nats,
            states: (0..NODES).map(|_| tempfile::tempdir().unwrap()).collect(),
            tree,
            registry,
            nats,
            _namespace: namespace,
            number: 1,
        };
        for node in 0..NODES {
            let server = field.server(node);
            field.servers.push(server);
        }
        field
            .servers
            .iter_mut()
            .for_each(|server| drop(committed(server, 1)));
        Some(field)
    }

    fn server(&self, node: usize) -> Server {
        let mut command = wasmhost();
        command.env("DOCKER_CONFIG", "/nowhere").arg("serve");
        command.arg(format!(
            "oci://{}/shop/site:prod",
            self.to_registry[node].address()
        ));
        let fleet = format!("nats://{}/site", self.to_nats[node].address());
        command.args(["--fleet", &fleet, "--poll", "100ms", "--state-dir"]);
        command.arg(self.states[node].path());
        Server::start_command(command)
    }

    fn overview(&self) -> Value {
        let fleet = format!("nats://{}/site", self.to_nats[NODES].address());
        let mut command = wasmhost();
        command.args(["fleet", "status", "--json", "--fleet", &fleet]);
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A node as it is in the bucket.
    fn listed<'a>(&self, node: usize, overview: &'a Value) -> Option<&'a Value> {
        let pid = format!(":{}", self.servers[node].pid());
        let is_it = |listed: &&Value| listed["name"].as_str().unwrap().ends_with(&pid);
        overview["nodes"].as_array().unwrap().iter().find(is_it)
    }

    fn wait_for(&self, node: usize, stage: &str) {
        // Each look takes as long as a program's start.
        while self
            .listed(node, &self.overview())
            .is_none_or(|listed| listed["stage"] != stage)
        {}
    }

    /// Nodes as they were before what comes: the leader, and two that are not.
    fn order(&self) -> (usize, usize, usize) {
        loop {
            let overview = self.overview();
            let leads = |node: &usize| {
                self.listed(*node, &overview)
                    .is_some_and(|listed| listed["id"] == overview["lead"])
            };
            let is_well = |listed: &Value| listed["is_current"] == true && listed["number"] == self.number;
            let are_well = (0..NODES).all(|node| self.listed(node, &overview).is_some_and(is_well));
            if let Some(leader) = (0..NODES).find(leads).filter(|_| are_well) {
                return (leader, (leader + 1) % NODES, (leader + 2) % NODES);
            }
        }
    }

    fn strike(&mut self, whom: Option<usize>, fault: Fault) {
        match (whom, fault) {
            (Some(node), Kill) => self.servers[node].signal("KILL"),
            (Some(node), Stop) => self.servers[node].signal("STOP"),
            (Some(node), Cut) => self.to_nats[node].cut(),
            (None, Kill) => self.nats.kill(),
            (None, Stop) => signal(self.nats.pid(), "STOP"),
            (None, Cut) => self.to_nats.iter().for_each(Line::cut),
        }
    }

    fn mend(&mut self, whom: Option<usize>, fault: Fault) {
        match (whom, fault) {
            (Some(node), Kill) => self.servers[node] = self.server(node),
            (Some(node), Stop) => self.servers[node].signal("CONT"),
            (Some(node), Cut) => self.to_nats[node].mend(),
            (None, Kill) => self.nats.revive(),
            (None, Stop) => signal(self.nats.pid(), "CONT"),
            (None, Cut) => self.to_nats.iter().for_each(Line::mend),
        }
    }

    fn push(&self) {
        self.tree.put("shop/page.wat", page(self.number + 1, ""));
        push(&self.tree, &self.registry.release());
    }

    /// A swap during which this happens.
    fn swap(&mut self, whom: Whom, phase: Phase, fault: Fault, meanwhile: Meanwhile) {
        let (leader, node, other) = self.order();
        let struck = match whom {
            Node => Some(node),
            Leader => Some(leader),
            Broker => None,
        };
        let observed = struck.unwrap_or(node);
        let held = if phase == Preparing { observed } else { other };
        match phase {
            Before => self.strike(struck, fault),
            Preparing | Ready | Commit => self.to_registry[held].cut(),
            After => {}
        }
        self.push();
        match phase {
            Before => {}
            Preparing => self.wait_for(observed, "preparing"),
            Ready | Commit => self.wait_for(observed, "ready"),
            After => drop(committed(&mut self.servers[observed], self.number + 1)),
        }
        if phase == Commit {
            self.to_registry[held].mend();
        }
        if phase != Before {
            self.strike(struck, fault);
        }
        if held != observed || struck.is_none() {
            self.to_registry[held].mend();
        }
        self.check(struck, fault, meanwhile);
        // First: who comes back accepts when it has what is committed.
        self.to_registry[held].mend();
        self.mend(struck, fault);
        self.number += 1;
        for server in &mut self.servers {
            committed(server, self.number);
            assert_eq!(version(&mut server.client(), "shop"), self.number);
        }
        assert_eq!(self.overview()["number"], self.number, "it was committed once");
    }

    fn check(&mut self, struck: Option<usize>, fault: Fault, meanwhile: Meanwhile) {
        let (old, new) = (self.number, self.number + 1);
        for node in 0..NODES {
            let is_struck = struck == Some(node);
            if is_struck && fault != Cut {
                continue;
            }
            let server = &mut self.servers[node];
            let serves = match meanwhile {
                WithoutIt if !is_struck => {
                    committed(server, new);
                    new
                }
                WithoutIt | Old => {
                    server.wait_for("stale", |stale| {
                        stale["reason"].as_str().unwrap().contains("out of touch")
                    });
                    old
                }
                New => {
                    committed(server, new);
                    new
                }
                Either => {
                    let serves = version(&mut server.client(), "shop");
                    assert!(serves == old || serves == new, "{serves}");
                    continue;
                }
            };
            assert_eq!(version(&mut server.client(), "shop"), serves);
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn whatever_befalls_whom_at_every_phase_of_a_swap_comes_to_its_stated_outcome() {
    if !cfg!(target_os = "linux") {
        return skipped("phases of a fleet's swap", "network namespaces");
    }
    let Some(mut field) = Field::new() else { return };
    let is_whole = std::env::var("WASMHOST_FLEET_PHASES").is_ok();
    for (whom, phase, meanwhile) in OUTCOMES {
        for fault in [Kill, Stop, Cut] {
            if is_whole || SOME.contains(&(whom, phase, fault)) {
                let began = std::time::Instant::now();
                println!("{whom:?} {phase:?} {fault:?}: {meanwhile:?}");
                field.swap(whom, phase, fault, meanwhile);
                println!("    all serve it, after {:.1?}", began.elapsed());
            }
        }
    }
}
