//! Guests that mean harm, each under all three policies: what its client gets, what the next client of the
//! same page gets, what a client of another group gets meanwhile, and what is left of it afterwards.

mod acts;
pub mod wat;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::Value;

use self::{
    acts::{ACTS, AS_FAR_AS_IT_GETS, BROKEN, FLOWS, NEVER, PAGES, POLICIES, site},
    wat::act,
};
use crate::support::{Client, Reply, Server, Tree, connect, guests, touched, wasmhost, wat_site};

/// A client of the other group, who asks again and again.
struct Neighbour {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    fn start(server: &Server) -> Self {
        let (stop, answered) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let (mut client, told, count) = (server.client(), stop.clone(), answered.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                assert_eq!(wat_site::version(&mut client, "calm"), 1);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            answered,
            thread,
        }
    }

    /// At least one request more, begun and answered after this.
    fn assert_goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        while self.answered.load(Ordering::Relaxed) < before + 2 {
            assert!(!self.thread.is_finished(), "a request of the other group failed");
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn assert_status(client: &mut Client, path: &str, expected: u16) {
    let reply = client.get(path);
    assert_eq!(reply.status, expected, "{path}: {reply:?}");
    if expected >= 400 {
        assert!(reply.body.len() < 64, "it names no inside: {reply:?}");
    }
}

fn assert_answer(url: &str, client: &mut Client, path: &str, expected: u16) {
    match expected {
        BROKEN => {
            if let Ok(reply) = Client::new(url).try_request("GET", path, &[], b"") {
                assert_eq!(reply.status, 500, "{path}: {reply:?}");
            }
        }
        AS_FAR_AS_IT_GETS => {
            let status = client.get(path).status;
            assert!([200, 504].contains(&status), "{path}: {status}");
        }
        expected => assert_status(client, path, expected),
    }
}

/// All of it once under each policy, at once.
fn round(server: &Server, neighbour: &Neighbour) {
    let url = server.url();
    std::thread::scope(|scope| {
        for (group, _) in POLICIES {
            scope.spawn(move || of_one_policy(url, neighbour, group));
            scope.spawn(move || acts(url, neighbour, &format!("flows-{group}"), &FLOWS));
        }
    });
}

fn of_one_policy(url: &str, neighbour: &Neighbour, group: &str) {
    let mut client = Client::new(url);
    for (name, status, _) in PAGES {
        assert_status(&mut client, &format!("/{group}/{name}?act"), status);
        neighbour.assert_goes_on();
        assert_status(&mut client, &format!("/{group}/{name}"), 200);
    }
    acts(url, neighbour, group, &ACTS);
    for (name, _) in NEVER {
        assert_status(&mut client, &format!("/{group}/{name}"), 500);
        neighbour.assert_goes_on();
    }
}

fn acts(url: &str, neighbour: &Neighbour, group: &str, acts: &[(&str, u16)]) {
    let mut client = Client::new(url);
    for (act, status) in acts {
        assert_answer(url, &mut client, &format!("/{group}/{act}"), *status);
        neighbour.assert_goes_on();
        let page = act.split_once('?').unwrap().0;
        assert_status(&mut client, &format!("/{group}/{page}?count"), 200);
    }
}

#[test]
fn whatever_a_guest_does_others_are_served() {
    let tree = site();
    let checked = wasmhost().arg("check").arg(tree.root()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "they look harmless: {said}");
    let server = Server::start(tree.root());
    let neighbour = Neighbour::start(&server);
    // What is made once is made now.
    round(&server, &neighbour);
    let before = server.holds();
    for _ in 0..2 {
        round(&server, &neighbour);
    }
    neighbour.stop();
    let after = server.holds();
    assert!(after.threads <= before.threads + 2, "{before:?}, then {after:?}");
    assert!(after.handles <= before.handles + 4, "{before:?}, then {after:?}");
    let most = before.memory + (16 << 20);
    assert!(after.memory < most, "{before:?}, then {after:?}");
}

/// Prints the table of SECURITY.md: each act a few times under each policy, one after another.
/// `cargo test --test main hostile::table -- --ignored --nocapture`
#[test]
#[ignore = "prints a table, and takes some minutes"]
fn table() {
    const TIMES: usize = 3;
    let tree = site();
    let server = Server::start_with(tree.root(), &["--frozen"]);
    let neighbour = Neighbour::start(&server);
    round(&server, &neighbour);
    let pages = PAGES.map(|(name, status, _)| (format!("{name}?act"), status, name.to_owned(), 200));
    let counting = |(act, status): (&str, u16)| {
        let page = act.split_once('?').unwrap().0;
        (act.to_owned(), status, format!("{page}?count"), 200)
    };
    let never = NEVER.map(|(name, _)| (name.to_owned(), 500, name.to_owned(), 500));
    let all = pages.into_iter().chain(ACTS.map(counting)).chain(never);
    let all = all.map(|act| (act, POLICIES.map(|(group, _)| group).to_vec()));
    let flows = ["flows-shared", "flows-pool", "flows-isolated"];
    let all = all.chain(FLOWS.map(counting).map(|act| (act, flows.to_vec())));
    println!("| what the guest does | its client | the next | another group's | KiB more afterwards |");
    println!("| --- | --- | --- | --- | --- |");
    let mut client = server.client();
    for ((act, expected, after, next), groups) in all {
        let mut grown = Vec::new();
        for group in groups {
            let before = server.holds().memory;
            for _ in 0..TIMES {
                assert_answer(server.url(), &mut client, &format!("/{group}/{act}"), expected);
                neighbour.assert_goes_on();
                assert_status(&mut client, &format!("/{group}/{after}"), next);
            }
            let now = server.holds().memory;
            grown.push(((now as i64 - before as i64) >> 10).to_string());
        }
        let got = match expected {
            BROKEN => "500, or an answer that breaks off".to_owned(),
            AS_FAR_AS_IT_GETS => "200, or 504".to_owned(),
            status => status.to_string(),
        };
        println!("| {act} | {got} | {next} | 200 | {} |", grown.join(" / "));
    }
    neighbour.stop();
}

/// A group of one page that does what its query says.
fn odd(instances: &str) -> Tree {
    let tree = Tree::empty();
    tree.put(
        "odd/misbehave.wasm",
        fs::read(guests().join("misbehave.wasm")).unwrap(),
    );
    tree.put("odd/other.wat", act("").text());
    tree.put(
        "wasmhost.toml",
        format!("[groups.odd]\ninstances = {instances}\n"),
    );
    tree
}

/// Traps until the page rests: what is answered then.
fn exhaust(client: &mut Client) -> Reply {
    let traps = (0..1000).map(|_| client.get("/odd/misbehave?trap"));
    let mut answers = traps.skip_while(|reply| reply.status == 500);
    answers.next().expect("it rests")
}

#[test]
fn a_page_that_traps_at_once_again_and_again_rests_and_recovers() {
    for (_, instances) in POLICIES {
        let tree = odd(instances);
        let mut server = Server::start(tree.root());
        let mut client = server.client();
        for _ in 0..100 {
            assert_status(&mut client, "/odd/misbehave?trap", 500);
            assert_status(&mut client, "/odd/misbehave?count", 200);
        }
        for _ in 0..2 {
            let reply = exhaust(&mut client);
            assert_eq!((reply.status, reply.generation()), (503, "odd@1"), "{instances}");
            let after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=5).contains(&after), "{after}");
            assert_status(&mut client, "/odd/other", 200);
            // It is tried again by itself, and then it is as it was.
            while client.get("/odd/misbehave?count").status == 503 {}
            assert_status(&mut client, "/odd/misbehave?trap", 500);
            assert_status(&mut client, "/odd/misbehave?count", 200);
        }
        let file = "odd/misbehave.wasm";
        assert_eq!(exhaust(&mut client).status, 503);
        tree.put(file, touched(&tree.read(file), 1));
        server.wait("swapped");
        let reply = client.get("/odd/misbehave?count");
        assert_eq!(
            (reply.status, reply.generation()),
            (200, "odd@2"),
            "new content is new"
        );
        server.signal("TERM");
        let (_, _, log) = server.ended();
        let said = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        assert_eq!(
            (said("trapped at once in"), said("answers again")),
            (3, 2),
            "{log}"
        );
    }
}

#[test]
fn what_a_component_is_made_of_is_limited() {
    let instance = "(core instance (instantiate $many))";
    let tree = odd("\"shared\"");
    let mut server = Server::start(tree.root());
    let many = format!(
        "(component (core module $many (memory 0) (table 0 funcref)) {})",
        instance.repeat(200)
    );
    tree.put("odd/many.wat", many);
    tree.put("wasmhost.toml", "[groups.odd.limits]\ninstances = 100\n");
    let rejected = server.wait("rejected");
    let said = &rejected["diagnostics"][0];
    assert_eq!(
        (&rejected["kept"], &said["code"]),
        (&1.into(), &"start-trapped".into())
    );
    assert!(said["message"].as_str().unwrap().contains("too high"), "{said}");
    tree.put("wasmhost.toml", "[groups.odd.limits]\ninstances = 1000\n");
    server.wait("swapped");
}

#[test]
fn a_new_generation_is_refused_before_a_request_that_runs() {
    let tree = odd("\"isolated\"");
    tree.put("old/page.wat", act("(drop (memory.grow (i32.const 300)))").text());
    let limits = "[server.limits]\nmemory = \"32MiB\"\n";
    tree.put("wasmhost.toml", limits);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    // Its store keeps 19 MiB.
    assert_status(&mut client, "/old/page?act", 200);
    let hungry = act("")
        .text()
        .replace("(export \"memory\") 4)", "(export \"memory\") 160)");
    tree.put("new/page.wat", &hungry);
    let rejected = server.wait("rejected");
    let said = &rejected["diagnostics"][0];
    assert_eq!(said["code"], "start-trapped", "{rejected}");
    let help = said["help"].as_str().unwrap();
    assert!(help.contains("[server.limits]"), "{help}");
    assert_status(&mut client, "/new/page", 503);
    // What serves has the rest: 12 MiB are left to it, and 8 to a new generation.
    tree.put(
        "more/page.wat",
        act("(drop (memory.grow (i32.const 160)))").text(),
    );
    server.wait("swapped");
    assert_status(&mut client, "/more/page?act", 200);
    assert_status(&mut client, "/odd/misbehave?count", 200);
}

#[test]
fn bodies_that_nobody_takes_are_memory_of_the_server() {
    const LARGE: &str = "/odd/misbehave?large=15000000";
    const MOST: u64 = 256 << 20;
    let body = vec![b'x'; 15 << 20];
    for (_, instances) in POLICIES {
        let tree = odd(instances);
        let manifest = format!(
            "[groups.odd]\ninstances = {instances}\n[groups.odd.limits]\nbody = \"16MiB\"\n\
             request-time = \"5m\"\n[server.limits]\nmemory = \"256MiB\"\nwrite-time = \"5m\"\n"
        );
        tree.put("wasmhost.toml", manifest);
        let server = Server::start_with(tree.root(), &["--frozen"]);
        assert_status(&mut server.client(), LARGE, 200);
        let before = server.holds().memory;
        let assert_bounded = |held: &[TcpStream]| {
            assert!(held.len() < 100, "nobody counts them: {instances}");
            let grown = server.holds().memory.saturating_sub(before);
            assert!(grown < 2 * MOST, "{grown} bytes: {instances}");
            assert_status(&mut server.client(), "/odd/misbehave?count", 200);
        };

        let is_full = || server.client().get(LARGE).status == 503;
        let mut held = Vec::new();
        while !is_full() {
            let mut stream = connect(server.authority());
            stream
                .write_all(format!("GET {LARGE} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
                .unwrap();
            // By then the guest is done.
            stream.read_exact(&mut [0]).unwrap();
            held.push(stream);
            assert_bounded(&held);
        }
        held.clear();
        while is_full() {}

        let post = |body: &[u8]| {
            let reply = server
                .client()
                .try_request("POST", "/odd/misbehave?count", &[], body);
            // A body that is refused before its end may cost the answer.
            reply.map_or(503, |reply| reply.status)
        };
        while post(&body) == 200 {
            let mut stream = connect(server.authority());
            let head = format!(
                "POST /odd/misbehave?count HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
                body.len() + 1
            );
            stream.write_all(head.as_bytes()).unwrap();
            let _ = stream.write_all(&body);
            held.push(stream);
            assert_bounded(&held);
        }
        held.clear();
        while post(&body) != 200 {}
    }
}

#[test]
fn a_trap_is_traced_to_its_function_and_its_line() {
    let source = fs::read_to_string("tests/guests/misbehave/src/lib.rs").unwrap();
    let line = source.lines().position(|line| line.contains("\"trap\" =>"));
    let place = format!("misbehave/src/lib.rs:{}:", line.unwrap() + 1);
    for (_, instances) in POLICIES {
        let tree = odd(instances);
        let server = Server::start_with(tree.root(), &["--frozen"]);
        assert_status(&mut server.client(), "/odd/misbehave?trap", 500);
        server.wait_for_log("the component trapped in");
        server.wait_for_log("\n  0: odd.misbehave: ");
        server.wait_for_log(&place);
        drop(server);

        // What lies there is no longer what trapped: its lines are others.
        let server = Server::start_with(tree.root(), &["--frozen"]);
        let file = "odd/misbehave.wasm";
        tree.put(file, touched(&tree.read(file), 1));
        assert_status(&mut server.client(), "/odd/misbehave?trap", 500);
        server.wait_for_log("\n  0: odd.misbehave: ");
        server.signal("TERM");
        let (_, _, log) = server.ended();
        assert!(!log.contains("src/lib.rs"), "{log}");
    }
}

#[test]
fn names_of_a_guest_are_no_lines_of_the_log() {
    let tree = Tree::empty();
    let name = format!("first\\nsecond\\1b[31m{}", "long".repeat(100_000));
    let forged = act("(call $forged)").text().replace(
        "(global $acts",
        &format!("(func $forged (@name \"{name}\") unreachable) (global $acts"),
    );
    tree.put("odd/forged.wat", forged);
    for format in ["text", "json"] {
        let mut command = wasmhost();
        command.arg("serve").arg(tree.root());
        command.args(["--listen", "127.0.0.1:0", "--format", format]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let journal = tree.path(".wasmhost/journal.jsonl");
        let url = loop {
            let text = fs::read_to_string(&journal).unwrap_or_default();
            let ready = text.lines().rfind(|line| line.contains("\"ready\""));
            if let Some(ready) = ready.and_then(|line| serde_json::from_str::<Value>(line).ok()) {
                break ready["url"].as_str().unwrap().to_owned();
            }
        };
        assert_status(&mut Client::new(&url), "/odd/forged?act", 500);
        let ended = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(ended.success());
        let (mut said, mut logged) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
        child.wait().unwrap();
        fs::remove_file(&journal).unwrap();
        for text in [said, logged] {
            assert!(text.contains("first"), "{text}");
            let forged = text.contains("first\nsecond") || text.contains('\x1b');
            assert!(!forged, "{text}");
            assert!(text.len() < 50_000, "{} bytes for one trap", text.len());
        }
    }
}

#[test]
fn a_path_is_a_name_of_a_route_and_of_nothing_else() {
    let tree = odd("\"shared\"");
    tree.put(
        "wasmhost.toml",
        "[groups.odd.routes]\n\"/items/{id}\" = \"odd.misbehave\"\n",
    );
    let server = Server::start(tree.root());
    let mut client = server.client();
    for path in [
        "/odd/../odd/misbehave",
        "/odd/./misbehave",
        "/odd/%2e%2e/odd/misbehave",
        "/odd/misbehave.wasm",
        "/odd.misbehave",
        "/odd/misbehave%00",
        "/../../etc/passwd",
        "/wasmhost.toml",
        "/.wasmhost/journal.jsonl",
        "//odd//misbehave",
        "/items/../odd",
        "/items/a/b",
    ] {
        assert_status(&mut client, path, 404);
    }
    // What looks like a path is a parameter like any other.
    let reply = client.get("/items/..%2f..%2fetc%2fpasswd");
    assert!(
        reply.text().contains("param (\"id\", \"../../etc/passwd\")"),
        "{reply:?}"
    );
    assert_status(&mut client, "/items/%ff", 400);
}
