//! Manifest text and what is said about it.

use super::*;
use crate::project::{AdminSpec, FleetSpec, ReadySpec, ServerLimits, Source, TlsFiles};

/// One line per diagnostic: `line:column code: message | help`.
fn check(text: &str, expected: &[&str]) {
    let diagnostics = parse(Path::new("wasmhost.toml"), text).1;
    let shown: Vec<_> = diagnostics.iter().map(shown).collect();
    assert_eq!(shown, expected, "in\n{text}");
}

fn shown(diagnostic: &Diagnostic) -> String {
    let position = diagnostic
        .position
        .expect("every mistake in a manifest has a place");
    let help = diagnostic
        .help
        .as_ref()
        .map_or(String::new(), |help| format!(" | {help}"));
    let Diagnostic { code, message, .. } = diagnostic;
    assert_eq!(diagnostic.file.as_deref(), Some(Path::new("wasmhost.toml")));
    format!("{}:{} {code}: {message}{help}", position.line, position.column)
}

fn good(text: &str) -> Manifest {
    let (manifest, mistakes) = parse(Path::new("wasmhost.toml"), text);
    assert_eq!(mistakes, [], "a good manifest");
    manifest
}

#[test]
fn nothing_written_is_all_defaults() {
    for text in [
        "",
        "\n# nothing\n",
        "[server]\n[groups.shop]\n[groups.shop.limits]\n[components]",
    ] {
        let manifest = good(text);
        assert_eq!(
            manifest.server.listen,
            ["127.0.0.1:8080".parse().expect("an address")]
        );
        assert!(
            manifest
                .groups
                .values()
                .all(|group| group.limits == Limits::default())
        );
        assert!(
            manifest
                .groups
                .values()
                .all(|group| group.drain == Duration::from_secs(30))
        );
    }
}

#[test]
fn everything_that_is_honoured_is_read() {
    let manifest = good(
        r#"
[server]
listen = ["127.0.0.1:0", "[::1]:81", "127.0.0.1:0"]
[groups.shop]
namespaces = ["shop", "blog.screen"]
instances = "shared"
state = "fresh"
[groups.shop.routes]
"/items/{id}" = "shop.screen.item"
"/" = "shop.screen.home"
"/api/{*rest}" = "shop.screen.api"
[groups.shop.wire]
"shop.screen.home" = { "shop:theme/page" = "shop.layout.dark" }
[groups.shop.limits]
memory = "1.5GiB"
request-time = "1m 30s"
start-time = "500ms"
in-flight = 1_0
queue = 0
body = 0x10
static = "1MiB"
[groups.shop.grants]
http = []
env = {}
keyvalue = false
[groups.shop.swap]
requests = "serve-old"
drain = "0s"
[components."shop.screen.home"]
path = "../home.wasm"
"#,
    );
    let listen: Vec<_> = manifest.server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:0", "[::1]:81", "127.0.0.1:0"]);
    let group = &manifest.groups["shop"];
    let limits = Limits {
        memory: 3 << 29,
        request_time: Duration::from_secs(90),
        start_time: Duration::from_millis(500),
        in_flight: 10,
        queue: 0,
        body: 16,
        static_files: 1 << 20,
        ..Limits::default()
    };
    assert_eq!((&group.limits, group.drain), (&limits, Duration::ZERO));
    let patterns: Vec<_> = group.routes.iter().map(|route| route.pattern.as_str()).collect();
    assert_eq!(patterns, ["/items/{id}", "/", "/api/{*rest}"], "in file order");
    let wire = &group.wire[0];
    assert_eq!(
        (
            wire.importer.as_str(),
            wire.interface.as_str(),
            wire.exporter.as_str()
        ),
        ("shop.screen.home", "shop:theme/page", "shop.layout.dark")
    );
    let id = ComponentId::parse("shop.screen.home").expect("an id");
    assert_eq!(manifest.components[&id], Elsewhere::Path("../home.wasm".into()));
    let owner = |folders: &[&str]| {
        let folders: Vec<_> = folders.iter().map(ToString::to_string).collect();
        manifest.claims.owner(&folders).map(str::to_owned)
    };
    assert_eq!(owner(&["blog", "screen", "deep"]), Some("shop".to_owned()));
    assert_eq!(owner(&["blog"]), None);
    assert_eq!(owner(&["shopping"]), None, "prefixes are of whole names");
}

#[test]
fn syntax() {
    check(
        "[server\n",
        &["1:8 manifest-syntax: unclosed table, expected `]`"],
    );
    check("a = 1\na = 2\n", &["2:1 manifest-syntax: duplicate key"]);
    check(
        "\n\n  ä = 1\nx = \"a\n",
        &[
            "3:3 manifest-syntax: invalid unquoted key, expected letters, numbers, `-`, `_`",
            "4:7 manifest-syntax: invalid basic string, expected `\"`",
        ],
    );
}

#[test]
fn every_limit_of_a_store_is_read() {
    let (manifest, mistakes) = parse(
        Path::new("wasmhost.toml"),
        r#"[groups.shop.limits]
handles = 100
files = 10
connections = 3
instances = 50
call-size = "1MiB"
output = 0
snapshot = "2MiB"
"#,
    );
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let expected = Limits {
        handles: 100,
        files: 10,
        connections: 3,
        instances: 50,
        call_size: 1 << 20,
        output: 0,
        snapshot: 2 << 20,
        ..Limits::default()
    };
    assert_eq!(manifest.groups["shop"].limits, expected);
}

#[test]
fn unknown_keys() {
    check(
        "\u{feff}sever = 1\n[server]\nlistn = []\nport = 1",
        &[
            "1:1 manifest-unknown-key: unknown key sever | did you mean server?",
            "3:1 manifest-unknown-key: unknown key listn in server | did you mean listen?",
            "4:1 manifest-unknown-key: unknown key port in server | known in server: listen, tls, admin, fleet, ready, limits",
        ],
    );
    check(
        "[groups.shop.limits]\nmemroy = 1\n  \"in flight\" = 2\n[groups.shop.route]\n\"/\" = \"a\"",
        &[
            "2:1 manifest-unknown-key: unknown key memroy in groups.shop.limits | did you mean memory?",
            "3:3 manifest-unknown-key: unknown key \"in flight\" in groups.shop.limits | did you mean in-flight?",
            "4:14 manifest-unknown-key: unknown key route in groups.shop | did you mean routes?",
        ],
    );
    check(
        "groups.shop.swap.x = 1\n[groups.shop.grants]\nfoo = 1",
        &[
            "1:18 manifest-unknown-key: unknown key x in groups.shop.swap | known in groups.shop.swap: requests, probation, drain",
            "3:1 manifest-unknown-key: unknown key foo in groups.shop.grants | known in groups.shop.grants: http, env, config, directories, keyvalue",
        ],
    );
    check(
        "[components.shop.screen.home]\npath = \"x\"",
        &[
            "1:13 manifest-value: components.shop has neither path nor oci | a dotted id is written in quotes: [components.\"shop.NAME\"]",
            "1:18 manifest-unknown-key: unknown key screen in components.shop | known in components.shop: path, oci",
        ],
    );
}

#[test]
fn the_server_is_read_whole() {
    let manifest = good(
        r#"
[server]
listen = ["http://127.0.0.1:80", "https://[::1]:443", "unix:run/site.sock"]
[server.tls]
certificate = "tls/cert.pem"
key = "tls/key.pem"
[server.limits]
connections = 7
header-size = "16KiB"
header-time = "5s"
idle-time = "1m"
write-time = "20s"
shutdown-time = "100ms"
memory = "2GiB"
[server.admin]
listen = "127.0.0.1:9180"
token = { env = "ADMIN" }

[server.fleet]
lease = "2s"
quorum = 3
pin = true
"#,
    );
    let ServerSpec {
        listen,
        tls,
        limits,
        admin,
        fleet,
        ready: _,
    } = manifest.server;
    let expected = FleetSpec {
        lease: Duration::from_secs(2),
        quorum: Some(3),
        patience: Duration::from_secs(60),
        pin: true,
    };
    assert_eq!(fleet, expected);
    let expected = AdminSpec {
        listen: "127.0.0.1:9180".parse().unwrap(),
        token: Source::Env("ADMIN".into()),
    };
    assert_eq!(admin, Some(expected));
    let listen: Vec<_> = listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        listen,
        ["127.0.0.1:80", "https://[::1]:443", "unix:run/site.sock"]
    );
    let files = TlsFiles {
        certificate: "tls/cert.pem".into(),
        key: "tls/key.pem".into(),
    };
    assert_eq!(tls, Some(files));
    let expected = ServerLimits {
        connections: 7,
        header_size: 16 << 10,
        header_time: Duration::from_secs(5),
        idle_time: Duration::from_secs(60),
        write_time: Duration::from_secs(20),
        shutdown_time: Duration::from_millis(100),
        memory: Some(2 << 30),
    };
    assert_eq!(limits, expected);
}

#[test]
fn a_server_with_mistakes() {
    check(
        "[server]\nlisten = [\"https://127.0.0.1:1\"]",
        &[
            "2:11 manifest-value: server.listen[0] needs a certificate, and there is no [server.tls] | add [server.tls] with certificate = \"cert.pem\" and key = \"key.pem\"",
        ],
    );
    check(
        "[server]\nlisten = [\"https://127.0.0.1:1\", \"127.0.0.1:1\", \"unix:\"]\n[server.tls]\ncertificte = \"a\"\nkey = 1",
        &[
            "2:34 manifest-value: server.listen[1] repeats 127.0.0.1:1",
            "2:49 manifest-value: server.listen[2] must be an address such as \"127.0.0.1:8080\", \"https://[::1]:8443\" or \"unix:/run/site.sock\", not \"unix:\"",
            "4:1 manifest-value: server.tls has no certificate | it is the path of a PEM file, as seen from the root",
            "4:1 manifest-unknown-key: unknown key certificte in server.tls | did you mean certificate?",
            "5:7 manifest-value: server.tls.key must be a string, not 1",
        ],
    );
    check(
        "server.tls.certificate = \"\"",
        &[
            "1:12 manifest-value: server.tls has no key | it is the path of a PEM file, as seen from the root",
            "1:26 manifest-value: server.tls.certificate must be the path of a PEM file, not \"\"",
        ],
    );
    check(
        "[server.limits]\nconnections = 0\nheader-size = \"1KiB\"\nidle-time = \"10ms\"\nwrite-tme = \"1s\"",
        &[
            "2:15 manifest-value: server.limits.connections must be a number from 1 to 1000000, not 0",
            "3:15 manifest-value: server.limits.header-size must be a size such as \"64MiB\", from 8.0 KiB to 1.0 MiB, not \"1KiB\"",
            "4:13 manifest-value: server.limits.idle-time must be a time such as \"10s\" or \"500ms\", from 100ms to 30days, not \"10ms\"",
            "5:1 manifest-unknown-key: unknown key write-tme in server.limits | did you mean write-time?",
        ],
    );
}

#[test]
fn a_path_of_readiness_is_one() {
    let ready = good("[server.ready]\npath = \"/ready\"\nnotice = \"5s\"")
        .server
        .ready;
    let expected = ReadySpec {
        path: "/ready".into(),
        notice: Duration::from_secs(5),
    };
    assert_eq!(ready, Some(expected));
    check(
        "[server.ready]\nnotice = \"2h\"",
        &[
            "2:1 manifest-value: server.ready has no path | it is what balancers ask for, such as \"/ready\"",
            "2:10 manifest-value: server.ready.notice must be a time such as \"10s\" or \"500ms\", from 0s to 1h, not \"2h\"",
        ],
    );
    check(
        "[server.ready]\npath = \"/{all}\"",
        &["2:8 manifest-value: server.ready.path must be a path such as \"/ready\", not \"/{all}\""],
    );
}

#[test]
fn wrong_values_all_at_once() {
    check(
        "[server]\nlisten = [\"localhost\", 80, \"127.0.0.1:80\", \"127.0.0.1:80\"]",
        &[
            "2:11 manifest-value: server.listen[0] must be an address such as \"127.0.0.1:8080\", \"https://[::1]:8443\" or \"unix:/run/site.sock\", not \"localhost\"",
            "2:24 manifest-value: server.listen[1] must be a string, not 80",
            "2:44 manifest-value: server.listen[3] repeats 127.0.0.1:80",
        ],
    );
    check(
        "server.listen = []",
        &["1:17 manifest-value: server.listen has no address"],
    );
    check(
        "server = 3\ngroups = []\ncomponents.a = 1.5",
        &[
            "1:10 manifest-value: server must be a table, not 3",
            "2:10 manifest-value: groups must be a table, not a list",
            "3:16 manifest-value: components.a must be a table, not 1.5",
        ],
    );
    check(
        r#"[groups.shop.limits]
memory = "lots"
body = -1
request-time = 10
start-time = "0s"
in-flight = 0
queue = "9"
"#,
        &[
            "2:10 manifest-value: groups.shop.limits.memory must be a size such as \"64MiB\", from 1 B to 1.0 TiB, not \"lots\"",
            "3:8 manifest-value: groups.shop.limits.body must be a size such as \"64MiB\", from 0 B to 1.0 TiB, not -1",
            "4:16 manifest-value: groups.shop.limits.request-time must be a time such as \"10s\" or \"500ms\", from 1ms to 30days, not 10",
            "5:14 manifest-value: groups.shop.limits.start-time must be a time such as \"10s\" or \"500ms\", from 1ms to 30days, not \"0s\"",
            "6:13 manifest-value: groups.shop.limits.in-flight must be a number from 1 to 1000000, not 0",
            "7:9 manifest-value: groups.shop.limits.queue must be a number from 0 to 1000000, not \"9\"",
        ],
    );
}

#[test]
fn names_and_ids() {
    check(
        "[groups.\"My Shop\"]\n[components.\"a b\"]\npath = \"x\"\n[components.c]\npath = \"\"",
        &[
            "1:9 manifest-value: \"My Shop\" is not a group's name: that is of a-z, 0-9, '-' and '_', and begins with a letter or a digit",
            "2:13 manifest-value: \"a b\" is not a component id; one is like \"shop.screen.home\", and each part is of a-z, 0-9, '-' and '_', and begins with a letter or a digit",
            "5:8 manifest-value: components.c.path must be the path of a component, not \"\"",
        ],
    );
    check(
        "[groups.a.wire]\nb = { \"\" = \"C\" }\nd = 1",
        &[
            "2:7 manifest-value: \"\" is not an interface such as \"shop:theme/page\"",
            "2:12 manifest-value: \"C\" is not a component id; one is like \"shop.screen.home\", and each part is of a-z, 0-9, '-' and '_', and begins with a letter or a digit",
            "3:5 manifest-value: groups.a.wire.d must be a table, not 1",
        ],
    );
}

#[test]
fn namespaces_belong_to_one_group() {
    const HELP: &str =
        "a namespace belongs to one group; a group without the key namespaces has the one of its name";
    check(
        "[groups.shop]\n[groups.blog]\nnamespaces = [\"blog\", \"shop\"]",
        &[&format!(
            "3:23 manifest-value: namespace \"shop\" of group blog is group shop's (line 1) | {HELP}"
        )],
    );
    check(
        "[groups.blog]\nnamespaces = [\"a.b\", \"shop\", \"shop\"]\n[groups.shop]\n[groups.news]\nnamespaces=[\"a.b\", \"a\"]",
        &[
            &format!(
                "3:9 manifest-value: namespace \"shop\" of group shop is group blog's (line 2) | {HELP}"
            ),
            &format!(
                "5:13 manifest-value: namespace \"a.b\" of group news is group blog's (line 2) | {HELP}"
            ),
        ],
    );
    check(
        "[groups.root]\nnamespaces = [\"\", \"A\"]\n[groups.a]\nnamespaces = [\"\"]\n[groups.b]\nnamespaces = []",
        &[
            "2:19 manifest-value: groups.root.namespaces[1] must be a namespace such as \"shop.screen\", not \"A\" | each part is of a-z, 0-9, '-' and '_', and begins with a letter or a digit",
            "4:15 manifest-value: groups.a.namespaces[0] is \"\": the files that lie directly in the root | they form the group root",
            "6:14 manifest-value: groups.b.namespaces has no namespace",
        ],
    );
}

#[test]
fn a_pattern_has_a_bounded_number_of_parameters() {
    let pattern: String = (0..26).map(|n| format!("/{{p{n}}}")).collect();
    check(
        &format!("[groups.a.routes]\n\"{pattern}\" = \"a.b\""),
        &[
            "2:1 manifest-value: a pattern has more than 25 parameters | take the rest as one: \"/api/{*rest}\"",
        ],
    );
}

#[test]
fn patterns_stand_in_one_table() {
    const HELP: &str = "a pattern is like \"/items/{id}\" or \"/api/{*rest}\"";
    const CHOOSE: &str = "one request cannot have two answers: change or remove one of them";
    check(
        "[groups.a.routes]\n\"x\" = \"a.b\"\n\"/{\" = \"a.b\"\n\"/{*r}/x\" = \"a.b\"\n\"/{a}{b}\" = \"a.b\"\n\"/a b\" = \"a.b\"\n\"/ok?x\" = 1",
        &[
            &format!("2:1 manifest-value: pattern \"x\" does not begin with \"/\" | {HELP}"),
            &format!(
                "3:1 manifest-value: pattern \"/{{\" is not understood: Parameters must be registered with a valid name | {HELP}"
            ),
            &format!(
                "4:1 manifest-value: pattern \"/{{*r}}/x\" is not understood: Catch-all parameters are only allowed at the end of a route | {HELP}"
            ),
            &format!(
                "5:1 manifest-value: pattern \"/{{a}}{{b}}\" is not understood: Only one parameter is allowed per path segment | {HELP}"
            ),
            &format!(
                "6:1 manifest-value: pattern \"/a b\" is not a path: no path has a blank, ? or # | {HELP}"
            ),
            &format!(
                "7:1 manifest-value: pattern \"/ok?x\" is not a path: no path has a blank, ? or # | {HELP}"
            ),
            "7:11 manifest-value: groups.a.routes.\"/ok?x\" must be a string, not 1",
        ],
    );
    check(
        "[groups.b.routes]\n\"/\" = \"b.x\"\n\"/i/{id}\" = \"b.x\"\n[groups.a.routes]\n\"/i/{name}\" = \"a.x\"\n\"/\" = \"a.y\"",
        &[
            &format!(
                "5:1 manifest-value: pattern \"/i/{{name}}\" of group a conflicts with \"/i/{{id}}\" of group b (line 3) | {CHOOSE}"
            ),
            &format!(
                "6:1 manifest-value: pattern \"/\" of group a conflicts with \"/\" of group b (line 2) | {CHOOSE}"
            ),
        ],
    );
}

#[test]
fn each_policy_of_stores_is_read() {
    for (written, meant) in [
        ("\"shared\"", Instances::Shared),
        ("{ pool = 1 }", Instances::Pool(1)),
        ("{ pool = 1024 }", Instances::Pool(1024)),
        ("\"isolated\"", Instances::Isolated),
    ] {
        let manifest = good(&format!("[groups.shop]\ninstances = {written}\n"));
        assert_eq!(manifest.groups["shop"].instances, meant);
    }
    check(
        r#"[groups.a]
instances = "alone"
[groups.b]
instances = { pool = 0, size = 1 }
[groups.c]
instances = { pool = 1025 }
[groups.d]
instances = {}
[groups.e]
instances = 4
"#,
        &[
            "2:13 manifest-value: groups.a.instances must be \"shared\", \"isolated\" or { pool = 4 }, not \"alone\"",
            "4:22 manifest-value: groups.b.instances.pool must be a number from 1 to 1024, not 0",
            "4:25 manifest-unknown-key: unknown key size in groups.b.instances | known in groups.b.instances: pool",
            "6:22 manifest-value: groups.c.instances.pool must be a number from 1 to 1024, not 1025",
            "8:13 manifest-value: groups.d.instances must be \"shared\", \"isolated\" or { pool = 4 }, not a table",
            "10:13 manifest-value: groups.e.instances must be \"shared\", \"isolated\" or { pool = 4 }, not 4",
        ],
    );
}

#[test]
fn only_a_group_of_one_store_has_a_state_to_hand_over() {
    let (manifest, mistakes) = parse(Path::new("wasmhost.toml"), "[groups.shop]\nstate = \"migrate\"\n");
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!(manifest.groups["shop"].state, State::Migrate);
    check(
        "[groups.shop]\ninstances = { pool = 2 }\nstate = \"migrate\"\n",
        &[
            "3:9 state-not-shared: state = \"migrate\" needs instances = \"shared\": where there are several stores, each has a state of its own, and none is the group's | leave `instances` out, or write \"shared\"; or leave `state` out: each swap starts anew then",
        ],
    );
}

#[test]
fn only_what_is_handed_over_is_saved_from_time_to_time() {
    let manifest = good("[groups.shop]\nstate = \"migrate\"\ncheckpoint = \"30s\"\n");
    let shop = &manifest.groups["shop"];
    assert_eq!(shop.checkpoint, Some(Duration::from_secs(30)));
    check(
        "[groups.a]\ncheckpoint = \"30s\"\n[groups.b]\nstate = \"migrate\"\ncheckpoint = \"1ms\"\n\
         [groups.c]\nstate = \"migrate\"\nchekpoint = \"30s\"\n",
        &[
            "2:14 checkpoint-without-state: checkpoint needs state = \"migrate\": only what is handed over at a swap can be saved and loaded | write `state = \"migrate\"` beside it, or leave `checkpoint` out",
            "5:14 manifest-value: groups.b.checkpoint must be a time such as \"10s\" or \"500ms\", from 1s to 30days, not \"1ms\"",
            "8:1 manifest-unknown-key: unknown key chekpoint in groups.c | did you mean checkpoint?",
        ],
    );
}

#[test]
fn a_probation_counts_traps_among_its_requests() {
    let probation = |written: &str| {
        let manifest = good(&format!("[groups.shop.swap]\nprobation = {written}\n"));
        manifest.groups["shop"].probation
    };
    let counts = |requests, traps| Some(Probation { requests, traps });
    assert_eq!(probation("{}"), counts(100, 1));
    assert_eq!(probation("{ requests = 10, traps = 3 }"), counts(10, 3));
    assert_eq!(good("[groups.shop]\n").groups["shop"].probation, None);
    check(
        "[groups.shop.swap]\nprobation = { requests = 2, traps = 3 }\n",
        &["2:37 manifest-value: groups.shop.swap.probation.traps must be a number from 1 to 2, not 3"],
    );
}

#[test]
fn what_a_swap_does_is_checked() {
    check(
        r#"[groups.shop]
state = "frsh"
[groups.shop.grants]
keyvalue = "yes"
[groups.shop.swap]
requests = "drop"
drain = "soon"
"#,
        &[
            "2:9 manifest-value: groups.shop.state must be \"fresh\" or \"migrate\", not \"frsh\"",
            "4:12 manifest-value: groups.shop.grants.keyvalue must be true, or the URL of a Redis such as \"redis://127.0.0.1:6379\" or of a NATS such as \"nats://127.0.0.1:4222\", not \"yes\"",
            "6:12 manifest-value: groups.shop.swap.requests must be \"serve-old\" or \"wait\", not \"drop\"",
            "7:9 manifest-value: groups.shop.swap.drain must be a time such as \"10s\" or \"500ms\", from 0s to 30days, not \"soon\"",
        ],
    );
}

#[test]
fn what_is_granted() {
    let manifest = good(
        r#"[groups.shop.grants]
http = ["https://API.example.com", "http://127.0.0.1:9000/"]
env = { LANG = "en", TOKEN = { file = "secrets/token" }, KEY = { env = "API_KEY" } }
config = { greeting = "hello" }
directories = [{ host = "data", guest = "/data" }, { host = "../more", guest = "/more", write = true }]
"#,
    );
    let grants = &manifest.groups["shop"].grants;
    let http: Vec<_> = grants.http.iter().map(ToString::to_string).collect();
    assert_eq!(http, ["http://127.0.0.1:9000", "https://api.example.com"]);
    assert_eq!(
        (&grants.env["LANG"], &grants.config["greeting"]),
        (
            &TextLine::Written("en".into()),
            &TextLine::Written("hello".into())
        )
    );
    let source = |key: &str| match &grants.env[key] {
        TextLine::Secret(source) => source.value.clone(),
        TextLine::Written(text) => panic!("{text}"),
    };
    assert_eq!(source("TOKEN"), Source::File("secrets/token".into()));
    assert_eq!(source("KEY"), Source::Env("API_KEY".into()));
    let directories: Vec<_> = grants
        .directories
        .iter()
        .map(|line| (line.host.value.to_str().unwrap(), line.guest.as_str(), line.write))
        .collect();
    assert_eq!(
        directories,
        [("data", "/data", false), ("../more", "/more", true)]
    );
    let keyvalue = |written: &str| {
        let manifest = good(&format!("[groups.shop.grants]\nkeyvalue = {written}\n"));
        manifest
            .groups
            .into_iter()
            .next()
            .and_then(|(_, group)| group.grants.keyvalue)
    };
    assert_eq!(keyvalue("false"), None);
    assert_eq!(keyvalue("true"), Some(KeyValueLine::Durable));
    let redis = TextLine::Written("redis://127.0.0.1:6379".into());
    assert_eq!(
        keyvalue("\"redis://127.0.0.1:6379\""),
        Some(KeyValueLine::Url(redis))
    );
    assert!(matches!(
        keyvalue("{ env = \"REDIS\" }"),
        Some(KeyValueLine::Url(TextLine::Secret(_)))
    ));
}
