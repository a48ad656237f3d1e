//! A fleet over a cluster of NATS, of which one server goes.

use super::{Place, all_committed, cable::Cable, nats::Cluster};
use crate::support::{Server, wat_site::page};

#[test]
fn a_fleet_goes_on_without_the_server_of_a_cluster_that_led() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let Some(mut place) = Place::new() else { return };
    place.fleet = cluster.fleet();
    let cable = Cable::to(&place.registry.address);
    let state = tempfile::tempdir().unwrap();
    let mut servers = place.servers(2);
    servers.push(Server::start_command(
        place.command_beside(state.path(), cable.address()),
    ));
    all_committed(&mut servers, 1, 1);
    let leader = cluster.leader("wasmhost-site");
    let stream = cluster.servers[leader].stream("wasmhost-site").unwrap();
    assert_eq!(stream["config"]["num_replicas"], 3, "{stream}");

    // Two are ready, and the third is not.
    cable.cut();
    place.push(page(2, ""));
    let is_ready = |nodes: &[serde_json::Value]| nodes.iter().filter(|node| node["stage"] == "ready").count();
    while is_ready(place.overview()["nodes"].as_array().unwrap()) < 2 {}
    cluster.servers[leader].kill();
    cable.mend();
    all_committed(&mut servers, 2, 2);
    assert_ne!(cluster.leader("wasmhost-site"), leader);
    // It is all there when the next one goes.
    cluster.servers[leader].revive();
    place.push(page(3, ""));
    all_committed(&mut servers, 3, 3);
}

#[test]
fn a_cluster_that_is_too_small_is_told_what_it_lacks() {
    let Some(cluster) = Cluster::of(2) else { return };
    let Some(place) = Place::new() else { return };
    let state = tempfile::tempdir().unwrap();
    let output = place
        .command_over(state.path(), &cluster.fleet())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for part in [
        "error[fleet-failed]",
        "has not three servers with JetStream",
        "`nats kv add wasmhost-site --history 1 --replicas 1`",
    ] {
        assert!(said.contains(part), "{said}");
    }
}
