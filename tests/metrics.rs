//! What the server counts, as Prometheus reads it from the admin socket.

use std::{collections::BTreeMap, fs, os::unix::net::UnixStream};

use crate::support::{
    Client, Gated, PATIENCE, Server, Tool, Tree, guests,
    wat_site::{page, site},
};

/// All series with their values.
pub fn scrape(tree: &Tree) -> (String, BTreeMap<String, f64>) {
    let socket = UnixStream::connect(tree.path(".wasmhost/admin.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let reply = Client::over(socket, "admin").get("/metrics");
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    let series = series.collect();
    (text, series)
}

#[test]
fn requests_swaps_and_groups_are_counted() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for path in ["/api/page", "/api/page", "/api/page/", "/nowhere"] {
        client.get(path);
    }
    tree.put("api/page.wat", page(2, ""));
    server.wait("retired");
    client.get("/api/page");
    tree.put(
        "api/page.wat",
        page(
            3,
            r#"(import "nobody:has/this@1.0.0" (instance (export "f" (func))))"#,
        ),
    );
    server.wait("rejected");

    let (text, series) = scrape(&tree);
    for (name, value) in [
        (
            r#"wasmhost_requests_total{group="api",page="api.page",status="2xx"}"#,
            4.0,
        ),
        (
            r#"wasmhost_requests_total{group="api",page="api.page",status="5xx"}"#,
            0.0,
        ),
        (
            r#"wasmhost_request_duration_seconds_count{group="api",page="api.page"}"#,
            4.0,
        ),
        (r#"wasmhost_requests_unrouted_total{status="404"}"#, 1.0),
        (r#"wasmhost_swaps_total{group="api",outcome="swapped"}"#, 1.0),
        (r#"wasmhost_swaps_total{group="api",outcome="rejected"}"#, 1.0),
        (
            r#"wasmhost_swap_stage_duration_seconds_count{stage="compile"}"#,
            1.0,
        ),
        (r#"wasmhost_generation{group="api"}"#, 2.0),
        (r#"wasmhost_generation{group="shop"}"#, 1.0),
        (r#"wasmhost_generations{group="api",state="draining"}"#, 0.0),
        (r#"wasmhost_requests_in_flight{group="api"}"#, 0.0),
        (r#"wasmhost_group_memory_bytes{group="api"}"#, 65536.0),
        (r#"wasmhost_guest_memory_bytes"#, 2.0 * 65536.0),
        ("wasmhost_control_plane_up", 1.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}\n{text}");
    }
    assert!(series["process_resident_memory_bytes"] > 1e6);
}

#[test]
fn what_runs_and_what_traps_is_seen_and_pages_that_went_are_not() {
    let tree = Tree::empty();
    for (group, guest) in [("odd", "streams"), ("bad", "misbehave")] {
        let file = fs::read(guests().join(format!("{guest}.wasm"))).unwrap();
        tree.put(format!("{group}/{guest}.wasm"), file);
    }
    tree.put("api/page.wat", page(1, ""));
    tree.put("api/other.wat", page(1, ""));
    let mut server = Server::start(tree.root());
    let (stream, _) = Gated::lockstep(&server);
    assert_eq!(server.client().get("/bad/misbehave?trap").status, 500);
    server.wait("trapped");
    let (text, series) = scrape(&tree);
    assert_eq!(
        series[r#"wasmhost_requests_in_flight{group="odd"}"#], 1.0,
        "{text}"
    );
    assert_eq!(series[r#"wasmhost_traps_total{group="bad"}"#], 1.0, "{text}");
    assert!(text.contains(r#"page="api.other""#));
    stream.assert_goes_on_to_its_end();
    fs::remove_file(tree.path("api/other.wat")).unwrap();
    server.wait("retired");
    let (text, series) = scrape(&tree);
    assert_eq!(series[r#"wasmhost_requests_in_flight{group="odd"}"#], 0.0);
    assert!(!text.contains(r#"page="api.other""#), "{text}");
}

#[test]
fn prometheus_finds_nothing_to_complain_about() {
    let Some(promtool) = Tool::new("promtool") else {
        return;
    };
    let tree = site(1);
    let mut server = Server::start(tree.root());
    server.client().get("/api/page");
    tree.put("api/page.wat", page(2, ""));
    server.wait("retired");
    assert_eq!(promtool.run_on(&scrape(&tree).0, &["check", "metrics"]), "");
}
