//! How long requests wait for a swap that hands a state over, beside a swap of the same group that does not.

use std::time::Instant;

use serde_json::Value;

use crate::{
    edits::settle,
    support::{Client, Server, Tree, guests},
    table::{head, row},
};

const SWAPS: u32 = 50;
/// Bytes that are handed over.
const STATE: usize = 1 << 20;

pub fn run() {
    head("a swap while one client asks");
    group("1 MiB handed over", "state = \"migrate\"");
    group("nothing handed over", "");
}

fn group(name: &str, state: &str) {
    let tree = Tree::empty();
    tree.put(
        "shop/cart.wasm",
        std::fs::read(guests().join("cart.wasm")).unwrap(),
    );
    let manifest = |swap: u32| {
        format!(
            "[groups.shop]\n{state}\n[groups.shop.grants]\nenv = {{ BULK = \"{STATE}\", SWAP = \"{swap}\" }}\n"
        )
    };
    tree.put("wasmhost.toml", manifest(0));
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let (mut swaps, mut waited) = (vec![], vec![]);
    for swap in 0..=SWAPS {
        settle();
        tree.put("wasmhost.toml", manifest(swap + 1));
        let latest = latest_answer(&mut client, &format!("shop@{}", swap + 2));
        let swapped = server.wait("swapped");
        // The first swap has nothing to hand over yet, and lays the caches out.
        if swap > 0 {
            swaps.push(swapped);
            waited.push(latest);
        }
    }
    row(&format!("{name}: all"), "ms", &each(&swaps, &["total"]));
    // The old generation answers nobody from the beginning of the one to the end of the other.
    row(
        "– gate closed: load and commit",
        "ms",
        &each(&swaps, &["load", "commit"]),
    );
    row("– latest answer", "ms", &waited);
}

/// Asks without a pause until this generation answers: the milliseconds that the slowest answer took.
fn latest_answer(client: &mut Client, generation: &str) -> f64 {
    let mut latest: f64 = 0.0;
    loop {
        let asked = Instant::now();
        let reply = client.get("/shop/cart?add");
        latest = latest.max(asked.elapsed().as_secs_f64() * 1e3);
        assert_eq!(reply.status, 200, "{reply:?}");
        if reply.generation() == generation {
            return latest;
        }
    }
}

fn each(swaps: &[Value], stages: &[&str]) -> Vec<f64> {
    let sum = |swap: &Value| {
        stages
            .iter()
            .map(|stage| swap["ms"][*stage].as_f64().unwrap())
            .sum()
    };
    swaps.iter().map(sum).collect()
}
