//! What is wrong around a fleet: the last release serves, the reason is said, and it recovers by itself.

use std::{fs, process::Command};

use serde_json::Value;

use super::{Place, all_committed, cable::Cable, committed};
use crate::{
    caches::Disk,
    releases::{push, push_as},
    support::{
        Registry, SECRET, Server, WRONG, unprivileged,
        wat_site::{page, version},
    },
};

impl Place {
    /// Waits until a server says of the release that it fails, for this reason.
    fn fails_for(&self, code: &str) {
        let fails = |node: &Value| node["stage"]["failed"][0]["code"] == code;
        // Each look takes as long as a program's start.
        while !self.overview()["nodes"].as_array().unwrap().iter().any(fails) {}
    }
}

#[test]
fn what_cannot_be_pulled_is_said_and_tried_again() {
    let Some(mut place) = Place::new() else { return };
    let mut servers = place.servers(2);
    all_committed(&mut servers, 1, 1);
    let (code, _, said) = place.steer(&["release", &format!("{}/shop/site:never", place.registry.address)]);
    assert!(
        code == Some(1) && said.contains("error[release-missing]"),
        "{said}"
    );

    // A layer that is damaged: it has another name first, so that it is damaged before it is wanted.
    let good = page(2, "");
    place.tree.put("shop/page.wat", &good);
    push(&place.tree, &format!("{}/shop/site:next", place.registry.address));
    let blob = place.registry.blob(good.as_bytes());
    fs::write(&blob, good.replacen('(', "[", 1)).unwrap();
    push(&place.tree, &place.registry.release());
    place.fails_for("release-corrupt");
    servers
        .iter()
        .for_each(|server| assert_eq!(version(&mut server.client(), "shop"), 1));
    fs::write(&blob, &good).unwrap();
    all_committed(&mut servers, 2, 2);
}

#[test]
fn a_server_that_is_not_let_in_holds_the_release_back_until_it_is() {
    let Some(mut place) = Place::new() else { return };
    let logins = [SECRET, SECRET, WRONG].map(|credential| {
        let docker = tempfile::tempdir().unwrap();
        place.registry.log_in(docker.path(), credential);
        (docker, tempfile::tempdir().unwrap())
    });
    let start = |place: &Place, number: usize| {
        let (docker, state) = &logins[number];
        let mut command = place.command(state.path());
        command.env("DOCKER_CONFIG", docker.path());
        Server::start_command(command)
    };
    let mut servers: Vec<Server> = (0..3).map(|number| start(&place, number)).collect();
    all_committed(&mut servers, 1, 1);
    // From here on one has to be logged in.
    let (folder, address) = std::mem::replace(&mut place.registry, Registry::start().unwrap()).end();
    let Some(registry) = Registry::guard(folder, &address) else {
        return;
    };
    place.registry = registry;
    servers.pop();
    servers.push(start(&place, 2));
    place.tree.put("shop/page.wat", page(2, ""));
    let (docker, _) = &logins[0];
    assert!(
        push_as(&place.tree, &place.registry.release(), docker.path())
            .status
            .success()
    );
    place.fails_for("registry-unauthorized");
    let (_, told, _) = place.steer(&["status"]);
    let failing = format!(":{}: error[registry-unauthorized]: ", servers[2].pid());
    assert!(told.contains(&failing) && !told.contains("wrong"), "{told}");
    servers
        .iter()
        .for_each(|server| assert_eq!(version(&mut server.client(), "shop"), 1));
    let (docker, _) = &logins[2];
    place.registry.log_in(docker.path(), SECRET);
    all_committed(&mut servers, 2, 2);
}

#[test]
fn a_server_started_anew_behind_a_registry_that_says_nothing_serves_its_last_release() {
    let Some(mut place) = Place::new() else { return };
    let cable = Cable::to(&place.registry.address);
    let state = tempfile::tempdir().unwrap();
    let mut servers = place.servers(2);
    let start = |place: &Place| Server::start_command(place.command_beside(state.path(), cable.address()));
    drop(committed(&mut start(&place), 1));
    place.push(page(2, ""));
    all_committed(&mut servers, 2, 2);
    cable.cut();
    servers.push(start(&place));
    servers[2].wait_for_log("has said nothing for 5s\nthe last release serves until it does");
    assert_eq!(version(&mut servers[2].client(), "shop"), 1);
    cable.mend();
    all_committed(&mut servers, 2, 2);
}

#[test]
fn a_registry_that_goes_in_mid_pull_holds_the_release_back_until_it_is_there() {
    let Some(mut place) = Place::new() else { return };
    let cable = Cable::to(&place.registry.address);
    let state = tempfile::tempdir().unwrap();
    let command = place.command_beside(state.path(), cable.address());
    let mut servers = place.servers(1);
    servers.push(Server::start_command(command));
    all_committed(&mut servers, 1, 1);
    cable.cut();
    place.push(page(2, ""));
    let pulls = |node: &Value| node["stage"] == "preparing";
    while !place.overview()["nodes"].as_array().unwrap().iter().any(pulls) {}
    let (folder, address) = std::mem::replace(&mut place.registry, Registry::start().unwrap()).end();
    cable.mend();
    place.fails_for("registry-failed");
    servers
        .iter()
        .for_each(|server| assert_eq!(version(&mut server.client(), "shop"), 1));
    place.registry = Registry::serve(folder, &address, "");
    all_committed(&mut servers, 2, 2);
}

#[test]
fn a_full_disk_of_one_server_holds_the_release_back_until_there_is_room() {
    let Some(mut place) = Place::new() else { return };
    let Some(disk) = Disk::new("24m") else {
        unprivileged("a full disk of a fleet", "only root may mount a small one");
        return;
    };
    let mut servers = place.servers(1);
    let state = disk.0.path().join("state");
    servers.push(Server::start_command(place.command(&state)));
    all_committed(&mut servers, 1, 1);
    let filler = disk.0.path().join("filler");
    // Until there is no more.
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    place.push(page(2, ""));
    while !place.overview()["nodes"].as_array().unwrap().iter().any(|node| {
        node["stage"]["failed"][0]["message"]
            .to_string()
            .contains("No space left")
    }) {}
    servers
        .iter()
        .for_each(|server| assert_eq!(version(&mut server.client(), "shop"), 1));
    fs::remove_file(&filler).unwrap();
    drop(file);
    all_committed(&mut servers, 2, 2);
}

#[test]
fn a_server_whose_clock_is_off_is_a_node_like_others() {
    let Some(mut place) = Place::new() else { return };
    let off = [
        "--time",
        "--fork",
        "--kill-child",
        "--monotonic",
        "1000000",
        "--boottime",
        "1000000",
    ];
    let tried = Command::new("unshare").args(off).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        unprivileged("clocks that are off", "no time namespace can be made");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let cable = Cable::to(place.nats.address());
    let usual = place.command_over(state.path(), &format!("nats://{}/site", cable.address()));
    let mut command = Command::new("unshare");
    command.args(off).arg(usual.get_program()).args(usual.get_args());
    command.env("DOCKER_CONFIG", "/nowhere");
    // It leads: it begins first.
    let mut servers = vec![Server::start_command(command)];
    servers.extend(place.servers(2));
    all_committed(&mut servers, 1, 1);
    place.push(page(2, ""));
    all_committed(&mut servers, 2, 2);
    // And its lease is as long as another's.
    cable.cut();
    place.push(page(3, ""));
    servers[1..]
        .iter_mut()
        .for_each(|server| drop(committed(server, 3)));
    servers[0].wait("stale");
    cable.mend();
    all_committed(&mut servers, 3, 3);
}
