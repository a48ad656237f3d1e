//! The admin interface as programs use it: over its socket, and over an address with a token.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Reply, Server, Tree, connect, wasmhost,
    wat_site::{page, site},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A client of the socket in the state directory.
fn admin(tree: &Tree) -> Client {
    let socket = UnixStream::connect(tree.path(".wasmhost/admin.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::over(socket, "admin")
}

fn get(tree: &Tree, path: &str) -> Value {
    let reply = admin(tree).get(path);
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    serde_json::from_slice(&reply.body).unwrap()
}

fn post(tree: &Tree, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let reply = admin(tree).request("POST", path, &headers, body.to_string().as_bytes());
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

/// The objects of a stream, as they come.
struct Stream(BufReader<UnixStream>);

impl Stream {
    fn follow(tree: &Tree, path: &str) -> Self {
        let mut socket = UnixStream::connect(tree.path(".wasmhost/admin.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n").unwrap();
        Self(BufReader::new(socket))
    }

    fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    fn wait(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let found = self.next();
            if fits(&found) {
                return found;
            }
        }
    }
}

#[test]
fn events_are_followed_as_they_happen_and_read_afterwards() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    let mut events = Stream::follow(&tree, "/v1/events?last=10");
    assert_eq!(events.next()["event"], "ready");
    tree.put("api/page.wat", page(2, ""));
    let swapped = events.wait(|event| event["event"] == "swapped");
    assert_eq!(
        (&swapped["group"], &swapped["generation"]),
        (&json!("api"), &json!(2))
    );
    assert_eq!(server.wait("swapped"), swapped, "word for word");
    server.wait("retired");

    let records = get(&tree, "/v1/journal?group=api&event=swapped");
    assert_eq!(records["records"], json!([swapped]));
    assert_eq!(get(&tree, "/v1/journal?last=1")["records"][0]["event"], "retired");
    let routes = get(&tree, "/v1/routes");
    let api = json!({ "pattern": "/api/page", "component": "api.page", "group": "api", "generation": 2 });
    assert_eq!(routes["routes"][0], api);
    let graph = get(&tree, "/v1/graph");
    assert_eq!(
        graph["groups"][1]["components"][1]["imports"][0]["from"],
        "shop.library"
    );
    let picture = admin(&tree).get("/v1/graph?format=svg");
    assert!(picture.body.starts_with(b"<svg "));
}

#[test]
fn a_server_is_frozen_and_thawed_while_it_runs() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    assert_eq!(get(&tree, "/v1/status")["frozen"], false);
    assert_eq!(
        post(&tree, "/v1/freeze", &json!({})),
        (200, json!({ "frozen": true }))
    );
    tree.put("api/page.wat", page(2, ""));
    tree.put("shop/page.wat", crate::support::wat_site::linked_page(2));
    let (status, swapped) = post(&tree, "/v1/swap", &json!({ "group": "shop" }));
    assert_eq!(
        (status, &swapped["groups"]["shop"]["generation"]),
        (200, &json!(2))
    );
    let status = get(&tree, "/v1/status");
    assert_eq!(status["frozen"], true);
    assert_eq!(status["groups"]["api"]["generation"], 1, "nobody asked for it");

    assert_eq!(
        post(&tree, "/v1/unfreeze", &json!({})),
        (200, json!({ "frozen": false }))
    );
    assert_eq!(
        server.wait_for("swapped", |event| event["group"] == "api")["generation"],
        2
    );
    tree.put("api/page.wat", page(3, ""));
    assert_eq!(
        server.wait_for("swapped", |event| event["group"] == "api")["generation"],
        3
    );
    drop(server);

    let _server = Server::start_with(tree.root(), &["--frozen"]);
    let (status, answer) = post(&tree, "/v1/unfreeze", &json!({}));
    assert_eq!(
        (status, &answer["diagnostics"][0]["code"]),
        (409, &json!("watch-missing"))
    );
}

#[test]
fn the_log_is_followed_and_its_level_changed() {
    let tree = site(1);
    let _server = Server::start_with(tree.root(), &["--log-format", "json"]);
    let mut logs = Stream::follow(&tree, "/v1/logs?last=100");
    let (status, answer) = post(&tree, "/v1/log", &json!({ "level": "loud=debug=x" }));
    assert_eq!(
        (status, &answer["diagnostics"][0]["code"]),
        (400, &json!("log-level"))
    );
    let (status, answer) = post(&tree, "/v1/log", &json!({ "level": "debgu" }));
    let message = answer["diagnostics"][0]["message"].as_str().unwrap();
    assert!(
        status == 400 && message.contains("\"debgu\" is no level"),
        "{answer}"
    );
    let level = json!({ "level": "info,wasmhost=debug" });
    assert_eq!(post(&tree, "/v1/log", &level), (200, level.clone()));
    assert_eq!(get(&tree, "/v1/log"), level);
    let line = logs.wait(|line| line["message"] == "the log level was changed");
    assert_eq!(
        (&line["level"], &line["target"]),
        (&json!("INFO"), &json!("wasmhost::admin::api"))
    );
}

#[test]
fn what_no_handler_takes_is_told_as_diagnostics() {
    let tree = site(1);
    let _server = Server::start(tree.root());
    for (path, body, status, message) in [
        ("/v1/pin", json!({ "grup": "shop" }), 422, "unknown field `grup`"),
        ("/v1/status", json!({}), 405, "405 Method Not Allowed"),
        ("/v1/nothing", json!({}), 404, "no such path"),
    ] {
        let (answered, answer) = post(&tree, path, &body);
        let told = answer["diagnostics"][0]["message"].as_str().unwrap();
        assert_eq!(answered, status, "{answer}");
        assert!(told.contains(message), "{answer}");
    }
}

#[test]
fn what_is_described_is_what_there_is() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/admin/api.rs")).unwrap();
    let tree = site(1);
    let _server = Server::start(tree.root());
    let described = get(&tree, "/v1/openapi.json");
    let described = described["paths"].as_object().unwrap();
    let routed = text
        .split(".route(")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap());
    let routed = routed.filter(|path| path.starts_with("/v1/") || *path == "/metrics");
    let paths: BTreeSet<&str> = described.keys().map(String::as_str).collect();
    assert_eq!(paths, routed.collect());
    for (path, methods) in described {
        // What is refused tells what is not.
        let refused = admin(&tree).request("DELETE", path, &[], b"");
        assert_eq!(refused.status, 405, "{path}");
        let allowed = refused.header("allow").unwrap().split(',');
        let allowed: BTreeSet<_> = allowed
            .map(str::to_lowercase)
            .filter(|method| method != "head")
            .collect();
        let methods: BTreeSet<_> = methods.as_object().unwrap().keys().cloned().collect();
        assert_eq!(methods, allowed, "{path}");
    }
}

/// What steers or looks answers programs too; `get` and `list` of `kv` print values and keys as they are, and each
/// command of `fleet` has its own `--json`.
#[test]
fn every_command_that_answers_does_so_in_json() {
    let help = |command: &[&str]| {
        let output = wasmhost().args(command).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // What they come to is files, or a server.
    let silent = ["build", "new", "kv", "fleet", "manual", "completions", "help"];
    let all = help(&[]);
    let commands = all.split("Commands:\n").nth(1).unwrap().lines();
    // What it says of one may take several lines.
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter(|line| !line.starts_with("   "));
    let names = commands.map(|line| line.split_whitespace().next().unwrap());
    let mut asked = 0;
    for name in names.filter(|name| !silent.contains(name)) {
        let help = help(&[name]);
        assert!(
            help.contains("--json") || help.contains("--format"),
            "{name}: {help}"
        );
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
}

/// A server whose admin interface listens on an address, and that address.
fn guarded() -> (Tree, Server, String) {
    let tree = site(1);
    tree.put("secrets/admin", format!("{TOKEN}\n"));
    tree.put(
        "wasmhost.toml",
        "[server.admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"secrets/admin\" }\n",
    );
    let server = Server::start(tree.root());
    let url = get(&tree, "/v1/status")["admin"].as_str().unwrap().to_owned();
    let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    (tree, server, authority)
}

fn asked(authority: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let method = if path == "/v1/swap" { "POST" } else { "GET" };
    Client::over(connect(authority), authority).request(method, path, headers, b"")
}

#[test]
fn an_address_opens_to_the_token_alone() {
    let (_tree, _server, authority) = guarded();
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/v1/status", "/metrics", "/v1/swap", "/v1/events", "/v1/nothing"] {
        let refused = asked(&authority, path, &[]);
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Bearer")),
            "{path}"
        );
        let wrong = asked(&authority, path, &[("authorization", "Bearer 0123456789abcdef")]);
        assert_eq!(wrong.status, 401, "{path}");
    }
    let opened = asked(&authority, "/v1/status", &[("authorization", &bearer)]);
    assert_eq!(opened.status, 200);
    let foreign = [
        ("authorization", bearer.as_str()),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(asked(&authority, "/v1/status", &foreign).status, 403);
    let mut rebound = TcpStream::connect(&authority).unwrap();
    write!(
        rebound,
        "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    rebound.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 421 "), "{text}");
    for path in ["/", "/v1/nothing"] {
        let reply = asked(&authority, path, &[]);
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
    }
}

#[test]
fn a_token_that_is_none_is_said_at_the_start() {
    let tree = site(1);
    let manifest = |token: &str| format!("[server.admin]\nlisten = \"127.0.0.1:0\"\ntoken = {token}\n");
    tree.put("short", "secret\n");
    for (token, says) in [
        (
            "{ file = \"missing\" }",
            "error[admin-token]: the admin interface has no token: ",
        ),
        ("{ env = \"WASMHOST_TEST_NOTHING\" }", "is not set"),
        ("{ file = \"short\" }", "has less than 16 characters"),
    ] {
        tree.put("wasmhost.toml", manifest(token));
        let output = wasmhost()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(tree.root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(says), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
    for (section, says) in [
        (
            "listen = \"0.0.0.0:9180\"\ntoken = { env = \"A\" }",
            "an address of this machine, such as",
        ),
        ("listen = \"127.0.0.1:9180\"", "token"),
        ("token = { env = \"A\" }", "listen"),
    ] {
        tree.put("wasmhost.toml", format!("[server.admin]\n{section}\n"));
        let output = wasmhost().arg("check").arg(tree.root()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(says), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
}
