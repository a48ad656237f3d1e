//! What a swap costs NATS, by the number of servers.

use serde_json::Value;

use super::{Place, committed};
use crate::support::{Client, wat_site::page};

/// Messages of one swap for each server, in and out together; and those of whoever asked for it.
const MOST_FOR_EACH: u64 = 12;
const MOST_FOR_ONE: u64 = 60;

/// Messages and bytes that NATS has taken and given.
fn traffic(place: &Place) -> (u64, u64) {
    let monitor = place.nats.monitor();
    let reply = Client::new(&format!("http://{monitor}")).get("/varz");
    let told: Value = serde_json::from_slice(&reply.body).unwrap();
    let both = |what: &str| {
        told[format!("in_{what}")].as_u64().unwrap() + told[format!("out_{what}")].as_u64().unwrap()
    };
    (both("msgs"), both("bytes"))
}

/// `WASMHOST_FLEET_NODES="5 10 20 50" cargo test fleet::growth -- --nocapture` has more of them.
#[test]
fn a_swap_costs_messages_in_proportion_to_the_servers() {
    let nodes = std::env::var("WASMHOST_FLEET_NODES").unwrap_or_else(|_| "2 6".into());
    let Some(mut place) = Place::new() else { return };
    // No signs of life, and no questions to the registry, come in between; and no lease ends, so what waits for one
    // would wait for ever.
    place
        .tree
        .put("wasmhost.toml", "[server.fleet]\nlease = \"1h\"\n");
    crate::releases::push(&place.tree, &place.registry.release());
    place.poll = "1h";
    let mut servers = Vec::new();
    let mut number = 1;
    for count in nodes.split_whitespace() {
        let count: usize = count.parse().unwrap();
        let more = place.servers(count - servers.len());
        servers.extend(more);
        servers
            .iter_mut()
            .for_each(|server| drop(committed(server, number)));
        number += 1;
        place.tree.put("shop/page.wat", page(number, ""));
        crate::releases::push(&place.tree, &place.registry.release());
        let (messages, bytes) = traffic(&place);
        let (code, _, said) = place.steer(&["release", &place.registry.release()]);
        assert_eq!(code, Some(0), "{said}");
        servers
            .iter_mut()
            .for_each(|server| drop(committed(server, number)));
        // The last of them has said so, too.
        while !place.overview()["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["number"] == number)
        {}
        let (messages_now, bytes_now) = traffic(&place);
        let (messages, bytes) = (messages_now - messages, bytes_now - bytes);
        println!("{count} servers: {messages} messages, {bytes} bytes");
        let most = MOST_FOR_EACH * count as u64 + MOST_FOR_ONE;
        assert!(
            messages <= most + 10 * count as u64,
            "{messages} messages for {count} servers"
        );
    }
}
