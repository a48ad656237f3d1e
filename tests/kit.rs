//! The test kit on itself: the scenarios of the contract come true, those that must fail do, and say why.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use wasmhost::testing::{Fault, FaultKind, HostOptions, Moment, TestHost, TestProject};

use crate::support::{Client, Server, Tree, example, golden, guests, wasmhost};

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");

/// `wasmhost test` with these arguments: its exit code, and its report.
fn tested(arguments: &[&str]) -> (i32, Value) {
    let output = wasmhost()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("test")
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    (output.status.code().unwrap(), report)
}

fn scenarios(report: &Value) -> &Vec<Value> {
    report["scenarios"].as_array().unwrap()
}

#[test]
fn every_guarantee_has_a_scenario_that_comes_true() {
    let (code, report) = tested(&["tests/scenarios/guarantees"]);
    for scenario in scenarios(&report) {
        let failure = &scenario["failure"];
        assert!(failure.is_null(), "{}: {failure:#}", scenario["name"]);
    }
    assert_eq!((code, &report["failed"]), (0, &Value::from(0)));
    for guarantee in 1..=9 {
        let of = |scenario: &&Value| {
            let file = Path::new(scenario["file"].as_str().unwrap()).file_name().unwrap();
            file.to_string_lossy().starts_with(&format!("{guarantee}-"))
        };
        assert!(
            scenarios(&report).iter().any(|scenario| of(&scenario)),
            "{guarantee}"
        );
    }
}

/// Serves the site whose cart hands its count over, asks once, and puts this fault into the cart: what came of it.
fn faulty(kind: FaultKind, on: Moment) -> (TestHost, Value) {
    let project = TestProject::copy_of(Path::new(&format!("{SCENARIOS}/remembering"))).unwrap();
    let options = HostOptions {
        program: Some(env!("CARGO_BIN_EXE_wasmhost").into()),
        ..HostOptions::default()
    };
    let host = TestHost::start_with(&project, &options).unwrap();
    assert_eq!(host.client().unwrap().get("/shop/cart").unwrap().status, 200);
    let cart = wat::parse_bytes(&project.read("shop/cart.wat").unwrap())
        .unwrap()
        .into_owned();
    let cart = Fault { kind, on }.inject(&cart).unwrap();
    project.put("shop/cart.wat", cart).unwrap();
    let outcome = host.swap().unwrap()["groups"]["shop"].take();
    (host, outcome)
}

/// Each shows in the journal as what it is, at the moment that it was ordered for.
#[test]
fn faults_really_happen() {
    use FaultKind::{Loop, Refuse, Slow, Trap};
    use Moment::{Load, Save, Start};
    let (load, save) = ("state.load of shop.cart", "state.save of shop.cart");
    for (kind, on, code, says) in [
        (Trap, Load, "state-load-failed", [load, "unreachable"]),
        (Trap, Save, "state-save-failed", [save, "unreachable"]),
        (
            Trap,
            Start,
            "start-trapped",
            ["while it was instantiated", "unreachable"],
        ),
        (Loop, Load, "start-time-over", [load, "within 1s"]),
        (Loop, Save, "start-time-over", [save, "within 1s"]),
        (Loop, Start, "start-time-over", ["did not start", "within 1s"]),
        (
            Refuse,
            Load,
            "state-load-failed",
            [load, "\"injected by the test kit\""],
        ),
        (
            Refuse,
            Save,
            "state-save-failed",
            [save, "\"injected by the test kit\""],
        ),
    ] {
        let (host, outcome) = faulty(kind, on);
        assert_eq!(outcome["generation"], 1, "{kind:?} {on:?}");
        let rejected = host.wait("rejected").unwrap();
        let diagnostic = &rejected["diagnostics"][0];
        assert_eq!(diagnostic["code"], code, "{kind:?} {on:?}: {diagnostic}");
        let message = diagnostic["message"].as_str().unwrap();
        assert!(
            says.iter().all(|says| message.contains(says)),
            "{kind:?} {on:?}: {message}"
        );
        // With what it had counted.
        let answer = host.client().unwrap().get("/shop/cart").unwrap();
        assert_eq!(answer.text(), "cart 1, count: 000002", "{kind:?} {on:?}");
    }
    for on in [Load, Save, Start] {
        let (host, outcome) = faulty(Slow, on);
        assert_eq!(outcome["generation"], 2, "{on:?}");
        let answer = host.client().unwrap().get("/shop/cart").unwrap();
        assert_eq!(answer.text(), "cart 1, count: 000002", "{on:?}");
    }
}

/// For all guests at once, also of generations that come later; and of no server that a test has not started.
#[test]
fn time_passes_for_guests_as_a_test_says() {
    use std::time::Duration;
    let project = TestProject::new().unwrap();
    project.put("shop/session.wat", content("session.wat")).unwrap();
    let options = HostOptions {
        program: Some(env!("CARGO_BIN_EXE_wasmhost").into()),
        ..HostOptions::default()
    };
    let host = TestHost::start_with(&project, &options).unwrap();
    let mut client = host.client().unwrap();
    let mut ask = || client.get("/shop/session").unwrap().text();
    assert_eq!(ask(), "open");
    let hour = Duration::from_secs(3600);
    assert_eq!(host.advance(hour).unwrap(), hour);
    assert_eq!(ask(), "over");
    // Fresh, and begun an hour ahead.
    project.put("shop/other.wat", content("api-2.wat")).unwrap();
    host.swap().unwrap();
    assert_eq!(ask(), "open");
    assert_eq!(host.advance(hour).unwrap(), 2 * hour);
    assert_eq!(ask(), "over");

    let tree = Tree::empty();
    tree.put("shop/session.wat", content("session.wat"));
    let server = Server::start(tree.root());
    let path = tree.path(".wasmhost/admin.sock");
    let asked = Client::over(
        std::os::unix::net::UnixStream::connect(path).unwrap(),
        "localhost",
    )
    .request(
        "POST",
        "/v1/clock",
        &[("content-type", "application/json")],
        b"{\"advance_ms\":3600000}",
    );
    assert_eq!(asked.status, 409, "{asked:?}");
    assert_eq!(server.client().get("/shop/session").text(), "open");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let folder = Tree::empty();
    for number in 0..3 {
        let text = format!(
            "tree = \"{SCENARIOS}/site\"\n[[step]]\nwait = {{ event = \"lost\", within = \"1h\" }}\n"
        );
        folder.put(format!("{number}.reload.toml"), text);
    }
    let temporary = Tree::empty();
    let mut tests = wasmhost();
    tests
        .args(["test", "--jobs", "2"])
        .arg(folder.root())
        .env("TMPDIR", temporary.root());
    let tests = tests
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Both serve: their journals have begun.
    let ready = |entry: &fs::DirEntry| {
        let journal = fs::read_to_string(entry.path().join("state/journal.jsonl"));
        journal.is_ok_and(|journal| journal.contains("\"ready\""))
    };
    let sandboxes = || fs::read_dir(temporary.root()).unwrap().map(Result::unwrap);
    while sandboxes().filter(ready).count() < 2 {
        std::thread::yield_now();
    }
    let servers = children(tests.id());
    assert_eq!(servers.len(), 2);
    let sent = Command::new("kill")
        .args(["-INT", &tests.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let output = tests.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("error[test-stopped]"), "{said}");
    assert_eq!(sandboxes().count(), 0);
    for server in servers {
        assert!(
            !Path::new(&format!("/proc/{server}")).exists(),
            "a server is left"
        );
    }
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let listed = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    let listed: Vec<String> = listed.collect();
    let ids = listed.iter().flat_map(|ids| ids.split_whitespace());
    ids.map(|id| id.parse().unwrap()).collect()
}

#[test]
fn an_upgrade_tells_what_becomes_of_state() {
    let old = TestProject::copy_of(Path::new(&format!("{SCENARIOS}/remembering"))).unwrap();
    let new = TestProject::copy_of(&old.root()).unwrap();
    new.put("shop/cart.wat", content("cart-2.wat")).unwrap();
    let (code, report) = upgraded(&old.root(), &new.root(), &[]);
    assert_eq!(code, 0, "{report:#}");
    let carried = serde_json::json!([{ "group": "shop", "component": "shop.cart", "carried": true }]);
    assert_eq!(
        (&report["to_new"]["state"], &report["to_old"]["state"]),
        (&carried, &carried)
    );

    new.put("wasmhost.toml", "[groups.shop]\nstate = \"fresh\"\n")
        .unwrap();
    let output = wasmhost()
        .args(["test", "--upgrade"])
        .args([old.root(), new.root()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("  state of shop: lost (state = \"fresh\")\n"),
        "{text}"
    );
    assert!(
        text.contains("  state of shop.cart: carried over\n"),
        "the way back: {text}"
    );
}

#[test]
fn the_example_site_has_one() {
    let file = example().join("cart.reload.toml");
    let (code, report) = tested(&[file.to_str().unwrap()]);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn what_must_fail_fails_and_says_why() {
    let (code, report) = tested(&["tests/scenarios/failing"]);
    assert_eq!(code, 1);
    let mut text = String::new();
    for scenario in scenarios(&report) {
        let failure = &scenario["failure"];
        let part = |name: &str| failure[name].as_str().unwrap_or("none").to_owned();
        text += &format!("{}\n", scenario["name"].as_str().unwrap());
        text += &format!(
            "{}:{}: {}\n",
            scenario["file"].as_str().unwrap(),
            failure["line"],
            part("step")
        );
        text += &format!(
            "expected: {}\nfound: {}\n\n",
            part("expected"),
            steady(&part("found"))
        );
    }
    golden("kit-failures", &text);
}

/// Without what differs from run to run: how many requests there were, and where the tree lay.
fn steady(found: &str) -> String {
    let counted = |line: &str| match line.split_once(" of ") {
        Some((count, rest)) if count.parse::<u64>().is_ok() => {
            format!("N of N{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => line.to_owned(),
    };
    let mut lines: Vec<String> = Vec::new();
    for line in found.lines().map(counted) {
        let line = match line.split_once("/wasmhost-test-") {
            Some((before, after)) => {
                let before = before.rsplit_once(' ').map_or("", |(words, _)| words);
                let after = after.split_once('/').map_or("", |(_, rest)| rest);
                format!("{before} TMP/{after}")
            }
            None => line,
        };
        // What is said several times is of several requests.
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

#[test]
fn a_failure_is_shown_with_its_journal() {
    let output = wasmhost()
        .current_dir(SCENARIOS)
        .args(["test", "failing/body.reload.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<&str> = text
        .lines()
        .map(|line| {
            let line = line.split(" (").next().unwrap_or(line);
            let line = line.split("; finished").next().unwrap_or(line);
            match line.find("ready ") {
                Some(_) => "    ready",
                None => line,
            }
        })
        .collect();
    golden("kit-failure", &(shown.join("\n") + "\n"));
}

#[test]
fn build_servers_get_junit() {
    let folder = Tree::empty();
    let file = folder.path("report.xml");
    let output = wasmhost()
        .current_dir(SCENARIOS)
        .args([
            "test",
            "failing/body.reload.toml",
            "failing/header.reload.toml",
            "--junit",
        ])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let xml = fs::read_to_string(file).unwrap();
    assert!(xml.contains(r#"tests="2" skipped="0" failures="2""#), "{xml}");
    assert!(xml.contains(r#"<testcase name="another body""#), "{xml}");
    assert!(xml.contains("expected body &quot;api 2&quot;"), "{xml}");
}

#[test]
fn fifty_at_once_do_not_meet() {
    let folder = Tree::empty();
    let page = fs::read_to_string(format!("{SCENARIOS}/content/api-2.wat")).unwrap();
    for number in 10..60 {
        let own = page
            .replace("api 2", "n. 9")
            .replace("n. 9", &format!("no {number}")[..5]);
        assert_eq!(own.len(), page.len());
        folder.put(format!("page-{number}.wat"), own);
        let text = format!(
            r#"
            tree = "{SCENARIOS}/site"
            within = "60s"
            [[step]]
            load = {{ path = "/api/page", clients = 1 }}
            [[step]]
            put = {{ "api/page.wat" = "page-{number}.wat" }}
            [[step]]
            wait = {{ event = "swapped", group = "api", generation = 2 }}
            [[step]]
            expect-load = {{ failed = 0, mixed = 0 }}
            [[step]]
            request = {{ path = "/api/page" }}
            expect = {{ status = 200, body = "no {number}" }}
            [[step]]
            expect-events = {{ swapped = 1, rejected = 0 }}
            "#
        );
        folder.put(format!("{number}.reload.toml"), text);
    }
    let (code, report) = tested(&[folder.root().to_str().unwrap(), "--jobs", "50"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["passed"], 50);
}

/// What is said of a scenario with this text, which lies beside a folder `site`.
fn refused(text: &str) -> String {
    let folder = Tree::empty();
    folder.put("site/page.wat", "(component)");
    folder.put("it.reload.toml", text);
    let output = wasmhost()
        .current_dir(folder.root())
        .args(["test", "it.reload.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    format!("{text}\n{}\n", String::from_utf8(output.stderr).unwrap())
}

#[test]
fn mistakes_are_told_with_their_place() {
    let texts = [
        "tree = \"site\"\n[[step]]\nreqest = { path = \"/\" }\n",
        "tree = \"site\"\n[[step]]\nrequest = { path = \"/\" }\nexpect = { stauts = 200 }\n",
        "tree = \"sight\"\n[[step]]\nput = { \"a.wasm\" = \"new/a.wasm\" }\n",
        "tree = \"site\"\n[[step]]\nput = { \"../a.wasm\" = { text = \"\" }, \"/etc/passwd\" = { text = \"\" } }\n[[step]]\nremove = \"site/../../x\"\n",
        "tree = \"site\"\n[[step]]\nwait = { event = \"swaped\" }\n[[step]]\nwait = { group = \"shop\" }\n",
        "tree = \"site\"\n[[step]]\nwait = { event = \"swapped\" }\ntouch = \"page.wat\"\n[[step]]\n",
        "tree = \"site\"\n[[step]]\nload = { path = \"/\" }\n",
        "tree = \"site\"\n[[step]]\nload = { path = \"/\", clients = 0 }\n[[step]]\nexpect-load = { lost-state = 0 }\n",
        "tree = \"site\"\n[[step]]\nfault = { refuse = \"page\", on = \"request\" }\n[[step]]\nput = { \"a.wasm\" = { text = \"\" } }\nwrite = \"slowly\"\n",
        "name = \"without anything\"\n",
        "tree = \"site\"\n[[step]\n",
    ];
    golden("kit-mistakes", &texts.map(refused).concat());
}

#[test]
fn a_tree_that_reaches_outside_is_refused() {
    let folder = Tree::empty();
    folder.put("site/page.wat", "(component)");
    folder.put(
        "site/wasmhost.toml",
        "[groups.root.grants]\ndirectories = [{ host = \"/\", guest = \"/\" }]\n",
    );
    folder.put(
        "it.reload.toml",
        "tree = \"site\"\n[[step]]\nrequest = { path = \"/\" }\n",
    );
    let (code, report) = tested(&[folder.path("it.reload.toml").to_str().unwrap()]);
    assert_eq!(code, 1);
    let failure = &scenarios(&report)[0]["failure"];
    let found = failure["found"].as_str().unwrap();
    assert!(
        found.ends_with("reaches outside of its tree: groups.root.grants.directories names /"),
        "{found}"
    );
}

#[test]
fn the_users_files_are_not_touched() {
    let folder = Tree::empty();
    folder.put(
        "site/api/page.wat",
        fs::read(format!("{SCENARIOS}/site/api/page.wat")).unwrap(),
    );
    folder.put("site/shop/page.wat", folder.read("site/api/page.wat"));
    let before = folder.read("site/api/page.wat");
    folder.put(
        "it.reload.toml",
        "tree = \"site\"\n[[step]]\nremove = \"api/page.wat\"\n[[step]]\nwait = { event = \"retired\", group = \"api\" }\n",
    );
    let (code, report) = tested(&[folder.path("it.reload.toml").to_str().unwrap()]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(folder.read("site/api/page.wat"), before);
    let left = fs::read_dir(folder.path("site")).unwrap().count();
    assert_eq!(left, 2, "not even a state directory");
}

#[test]
fn nothing_to_run_is_an_error() {
    let folder = Tree::empty();
    for path in [folder.path("none.reload.toml"), folder.root().to_owned()] {
        let output = wasmhost().arg("test").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("error[scenario-missing]"), "{said}");
    }
}

#[test]
fn a_held_request_ends_where_it_began() {
    let project = TestProject::new().unwrap();
    let guest = fs::read(guests().join("streams.wasm")).unwrap();
    project.put("odd/streams.wasm", &guest).unwrap();
    let options = HostOptions {
        program: Some(env!("CARGO_BIN_EXE_wasmhost").into()),
        ..HostOptions::default()
    };
    let host = TestHost::start_with(&project, &options).unwrap();
    let client = host.client().unwrap();
    let mut held = client.hold("/odd/streams?lockstep", "first").unwrap();
    assert_eq!(held.receive().unwrap().as_deref(), Some(b"first".as_slice()));

    project
        .put("odd/streams.wasm", crate::support::touched(&guest, 1))
        .unwrap();
    assert_eq!(host.swap().unwrap()["groups"]["odd"]["generation"], 2);
    assert_eq!(host.wait("swapped").unwrap()["generation"], 2);
    let running = host.status().unwrap();
    assert_eq!(running["groups"]["odd"]["draining"][0]["in_flight"], 1);

    held.send("next");
    assert_eq!(held.receive().unwrap().as_deref(), Some(b"next".as_slice()));
    assert_eq!(held.headers["wasmhost-generation"], "odd@1");
    assert!(held.finish().unwrap().is_empty());
    assert_eq!(host.wait("retired").unwrap()["aborted"], 0);
    assert!(host.stop().unwrap().success());
}

/// `wasmhost test --upgrade` with these arguments: its exit code, and its report.
fn upgraded(old: &Path, new: &Path, more: &[&str]) -> (i32, Value) {
    let mut arguments = vec!["--upgrade", old.to_str().unwrap(), new.to_str().unwrap()];
    arguments.extend(more);
    tested(&arguments)
}

/// The site of the scenarios with other files in places of its own.
fn site_with(files: &[(&str, &[u8])]) -> TestProject {
    let site = TestProject::copy_of(Path::new(&format!("{SCENARIOS}/site"))).unwrap();
    for (file, content) in files {
        site.put(file, content).unwrap();
    }
    site
}

fn content(file: &str) -> Vec<u8> {
    fs::read(format!("{SCENARIOS}/content/{file}")).unwrap()
}

#[test]
fn an_upgrade_is_tried_out_there_and_back() {
    let old = site_with(&[]);
    let new = site_with(&[
        ("shop/page.wat", &content("page-2.wat")),
        ("shop/library.wat", &content("library-2.wat")),
    ]);
    let (code, report) = upgraded(&old.root(), &new.root(), &[]);
    assert_eq!((code, &report["sound"]), (0, &Value::Bool(true)), "{report:#}");
    assert_eq!(report["failed"]["count"], 0);
    assert_eq!(report["mixed"]["count"], 0);
    assert_eq!(report["to_new"]["swapped"][0]["generation"], 2);
    assert_eq!(report["to_old"]["swapped"][0]["generation"], 3);
    assert_eq!(report["changed"].as_array().unwrap().len(), 1);
    assert_eq!(report["changed"][0]["request"], "GET /shop/page");
    assert_eq!(report["unsteady"], serde_json::json!(["GET /shop/count"]));
    assert_eq!(report["requests"], 3);
    let changes = report["interfaces"]["changes"].as_array().unwrap();
    let changed: Vec<_> = changes.iter().map(|change| &change["component"]).collect();
    assert_eq!(changed, ["shop.library", "shop.page"]);
    assert!(report["to_new"]["memory"]["peak"].as_u64() > Some(1 << 20));
    assert_eq!(
        fs::read(old.path("shop/page.wat")).unwrap(),
        site_with(&[]).read("shop/page.wat").unwrap()
    );
}

#[test]
fn an_upgrade_that_is_refused_says_why() {
    let (old, new) = (
        site_with(&[]),
        site_with(&[("shop/library.wat", &content("library-2.wat"))]),
    );
    let output = wasmhost()
        .args(["test", "--upgrade"])
        .args([old.root(), new.root()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("refused: shop: shop@1 goes on serving"), "{text}");
    assert!(text.contains("error[import-mismatch]"), "{text}");
    assert!(
        text.contains("nothing to swap: the contents are the same"),
        "the way back: {text}"
    );
    assert!(text.ends_with("upgrade: FAILED\n"), "{text}");
}

#[test]
fn an_upgrade_whose_pages_trap_fails() {
    let trap = Fault {
        kind: FaultKind::Trap,
        on: Moment::Request,
    };
    let page = wat::parse_bytes(&content("api-2.wat")).unwrap().into_owned();
    let (old, new) = (site_with(&[]), site_with(&[]));
    new.remove("api/page.wat").unwrap();
    new.put("api/page.wasm", trap.inject(&page).unwrap()).unwrap();
    let (code, report) = upgraded(&old.root(), &new.root(), &["--clients", "2"]);
    assert_eq!(code, 1);
    assert!(report["failed"]["count"].as_u64() > Some(0), "{report:#}");
    let told = report["failed"]["told"][0].as_str().unwrap();
    assert!(told.starts_with("/api/page: 500"), "{told}");
}

#[test]
fn what_cannot_be_upgraded_is_said() {
    let (old, new) = (Tree::empty(), site_with(&[]));
    let output = wasmhost()
        .args(["test", "--upgrade"])
        .args([old.root(), &new.root()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error[upgrade-impossible]"), "{said}");
}

#[test]
fn what_was_recorded_is_asked_again() {
    let site = site_with(&[]);
    let file = site.path("../requests.jsonl");
    let path = file.to_str().unwrap();
    let server = Server::start_with(&site.root(), &["--record", path, "--redact", "x-token"]);
    let mut client = server.client();
    let headers = [("cookie", "a=b"), ("x-token", "secret"), ("accept", "text/html")];
    for _ in 0..2 {
        assert_eq!(
            client.request("POST", "/api/page?q=1", &headers, b"hello").status,
            200
        );
    }
    assert_eq!(client.get("/shop/page").status, 200);
    assert_eq!(client.get("/nowhere").status, 404);
    // More than the page has memory for, which is its own matter.
    client.request("POST", "/api/page", &[], &vec![b'x'; 65 << 10]);
    server.signal("TERM");
    assert!(server.ended().0.success());

    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines[0],
        serde_json::json!({
            "method": "POST", "path": "/api/page?q=1", "body": "hello", "cut": false,
            "headers": [["cookie", "redacted"], ["x-token", "redacted"], ["accept", "text/html"]],
        })
    );
    assert_eq!((lines.len(), &lines[0]), (4, &lines[1]));
    assert_eq!(lines[3]["cut"], true);
    assert_eq!(lines[3]["body"].as_str().unwrap().len(), 64 << 10);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let (code, report) = upgraded(&site.root(), &site.root(), &["--replay", path]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["requests"], &report["cut"]), (&2.into(), &1.into()));
}
