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
