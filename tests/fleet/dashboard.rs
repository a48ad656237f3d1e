//! The dashboard of a server of a fleet, in a real browser: how it stands to the others.

use serde_json::Value;

use super::{Place, committed};
use crate::{
    releases::push,
    support::{Browser, Server, wasmhost, wat_site::page},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn the_dashboard_shows_how_a_server_stands_to_its_fleet() {
    let Some(browser) = Browser::start() else { return };
    let Some(mut place) = Place::new() else { return };
    let manifest = "[server.fleet]\nlease = \"1s\"\n[server.admin]\nlisten = \"127.0.0.1:0\"\ntoken = { env = \"TOKEN\" }\n";
    place.tree.put("wasmhost.toml", manifest);
    push(&place.tree, &place.registry.release());
    let state = tempfile::tempdir().unwrap();
    let mut command = place.command(state.path());
    command.env("TOKEN", TOKEN);
    let mut server = Server::start_command(command);
    committed(&mut server, 1);
    let mut asked = wasmhost();
    asked.args(["status", "--json", "--state-dir"]).arg(state.path());
    let status: Value = serde_json::from_slice(&asked.output().unwrap().stdout).unwrap();
    browser.open(&format!("{}#token={TOKEN}", status["admin"].as_str().unwrap()));
    browser.wait_text("#fleet", "fleet: commit 1");

    place.push(page(2, ""));
    let release = committed(&mut server, 2)["release"].clone();
    browser.wait_text("#fleet", "fleet: commit 2");
    let title = "return document.getElementById('fleet').title";
    assert_eq!(browser.run(title), release);
    place.nats.kill();
    browser.wait_text("#fleet", "fleet: stale");
    let why = browser.run(title);
    assert!(why.as_str().unwrap().contains("out of touch"), "{why}");
    browser.screenshot("dashboard-fleet-stale");
    place.nats.revive();
    browser.wait_text("#fleet", "fleet: commit 2");
    assert_eq!(browser.console(), [""; 0]);
}

/// Outside of a fleet there is nothing to be said.
#[test]
fn a_server_alone_has_no_fleet_to_show() {
    let Some(browser) = Browser::start() else { return };
    let tree = crate::support::wat_site::site(1);
    tree.put("secrets/admin", TOKEN);
    let admin = "[server.admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"secrets/admin\" }\n";
    tree.put("wasmhost.toml", admin);
    let server = Server::start(tree.root());
    let mut asked = wasmhost();
    asked.args(["status", "--json", "--root"]).arg(tree.root());
    let status: Value = serde_json::from_slice(&asked.output().unwrap().stdout).unwrap();
    browser.open(&format!("{}#token={TOKEN}", status["admin"].as_str().unwrap()));
    browser.wait_text("[data-group=api] h2", "api@1");
    assert_eq!(
        browser.run("return document.getElementById('fleet').hidden"),
        true
    );
    drop(server);
}
