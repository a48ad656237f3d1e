//! The same in a NATS, the real one.

use std::{net::TcpListener, time::Instant};

use async_nats::jetstream::{self, stream};

use super::{ask, commands, does_all, refusal, set, site, try_ask, two_generations_write};
use crate::{
    fleet::nats::{Cluster, Nats},
    support::{Client, PATIENCE, Server, Tree},
};

/// Both groups have their space in the same NATS; as whom, `user:password@`.
fn site_in(nats: &Nats, login: &str) -> Tree {
    let tree = site();
    let url = format!("nats://{login}{}", nats.address());
    let granted = ["rich", "other"].map(|group| format!("[groups.{group}.grants]\nkeyvalue = \"{url}\"\n"));
    tree.put("wasmhost.toml", granted.concat());
    tree
}

#[test]
fn everything_is_done_in_a_nats_too() {
    let Some(nats) = Nats::start() else { return };
    let tree = site_in(&nats, "");
    let server = Server::start(tree.root());
    let mut client = server.client();
    does_all(&mut client);
    // All bytes in a key and in a value, and keys that mean something to NATS.
    let bytes: Vec<u8> = (0..=255).collect();
    for key in ["*.a", "a.b", "=41", "$JS", "%C3%A9"] {
        assert_eq!(
            try_ask(&mut client, "rich", &format!("set={key}"), &bytes).status,
            200
        );
        assert_eq!(
            try_ask(&mut client, "rich", &format!("get={key}"), b"").body,
            bytes
        );
    }
    ask(&mut client, "rich", "key-size=,1024");
    assert!(ask(&mut client, "rich", "list").starts_with("6 keys, 6 of them different"));
    assert_eq!(ask(&mut client, "rich", "clear-1"), "6");
    // What it takes at once is less than what this host would.
    let large = refusal(&mut client, "rich", "set-size=a,1048576");
    assert_eq!(
        large,
        "a value has at most 1048448 bytes in this NATS, not 1048576"
    );
    ask(&mut client, "rich", "set-size=a,1048448");
    drop(server);
    let server = Server::start(tree.root());
    assert_eq!(ask(&mut server.client(), "rich", "exists=a"), "true");
    assert!(!tree.path(".wasmhost/keyvalue.redb").exists());
}

#[test]
fn a_list_in_a_nats_has_each_key_that_stays_once() {
    let Some(nats) = Nats::start() else { return };
    let tree = site_in(&nats, "");
    let server = Server::start(tree.root());
    let mut client = server.client();
    for prefix in ["a", "b", "c"] {
        ask(&mut client, "rich", &format!("set-many={prefix},1000"));
    }
    let all = "3000 keys, 3000 of them different, in 3 pages";
    for list in ["list", "list-1"] {
        assert!(ask(&mut client, "rich", list).starts_with(all));
    }
    assert_eq!(ask(&mut client, "rich", "clear-1"), "3000");
    assert_eq!(ask(&mut client, "rich", "get=a00000"), "nothing");
}

#[test]
fn commands_see_what_is_in_a_nats() {
    let Some(nats) = Nats::start() else { return };
    let tree = site_in(&nats, "");
    let _server = Server::start(tree.root());
    commands::all_commands(&tree);
}

#[test]
fn two_generations_write_one_key_of_a_nats() {
    let Some(nats) = Nats::start() else { return };
    two_generations_write(&site_in(&nats, ""));
}

/// Two servers count in one space, as those of a fleet do: what is compared is compared by NATS.
#[test]
fn two_servers_share_a_space() {
    const EACH: usize = 100;
    let Some(nats) = Nats::start() else { return };
    let trees = [site_in(&nats, ""), site_in(&nats, "")];
    let servers = trees.each_ref().map(|tree| Server::start(tree.root()));
    std::thread::scope(|scope| {
        for server in &servers {
            for what in ["increment=n,1", "add-by-swap=n", "increment-1=n,1"] {
                let mut client = server.client();
                scope.spawn(move || (0..EACH).for_each(|_| drop(ask(&mut client, "rich", what))));
            }
        }
    });
    let sum = (servers.len() * 3 * EACH).to_string();
    for server in &servers {
        assert_eq!(ask(&mut server.client(), "rich", "get=n"), sum);
    }
}

#[test]
fn a_nats_that_is_gone_is_an_error_until_it_is_back() {
    let Some(mut nats) = Nats::start() else { return };
    let tree = site_in(&nats, "");
    let server = Server::start(tree.root());
    let mut client: Client = server.client();
    set(&mut client, "rich", "a", "one");
    nats.kill();
    assert_eq!(refusal(&mut client, "rich", "get=a"), "the store failed");
    server.wait_for_log(&format!("nats://{}", nats.address()));
    server.wait_for_log("look whether NATS runs there with JetStream");
    nats.revive();
    let begun = Instant::now();
    while try_ask(&mut client, "rich", "get=a", b"").status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the server does not connect again");
    }
    assert_eq!(ask(&mut client, "rich", "get=a"), "one");
}

/// One server counts by a NATS that is cut off from its cluster, the other by the rest of it.
#[test]
fn what_is_cut_off_from_its_cluster_changes_nothing_and_no_change_that_is_done_is_lost() {
    let Some(cluster) = Cluster::start() else { return };
    let trees = [site_in(&cluster.servers[0], ""), site()];
    // Of whom the first makes the bucket.
    let first = Server::start(trees[0].root());
    let mut count = Count { sum: 0, in_doubt: 0 };
    count.add_by(&mut first.client());
    let leader = cluster.leader("wasmhost_rich");
    let stream = cluster.servers[leader].stream("wasmhost_rich").unwrap();
    assert_eq!(stream["config"]["num_replicas"], 3, "{stream}");
    drop(first);
    let rest = (0..3).filter(|number| *number != leader);
    let rest: Vec<_> = rest.map(|number| cluster.servers[number].address()).collect();
    for (tree, addresses) in trees
        .iter()
        .zip([cluster.servers[leader].address().to_owned(), rest.join(",")])
    {
        let granted = format!("[groups.rich.grants]\nkeyvalue = \"nats://{addresses}\"\n");
        tree.put("wasmhost.toml", granted);
    }
    let servers = trees.each_ref().map(|tree| Server::start(tree.root()));
    let [mut alone, mut others] = servers.each_ref().map(Server::client);
    count.add_by(&mut alone);
    count.is_read_by(&mut others);

    cluster.isolate(leader);
    // Once they have another that leads.
    (0..10).for_each(|_| count.add_by(&mut others));
    count.in_doubt += 1;
    assert_eq!(refusal(&mut alone, "rich", "increment=n,1"), "the store failed");
    cluster.join(leader);
    count.add_by(&mut alone);
    count.is_read_by(&mut others);
}

/// What was counted, of which nothing may be lost.
struct Count {
    sum: u64,
    /// What was answered with an error: it may have been done.
    in_doubt: u64,
}

impl Count {
    /// As soon as it can be.
    fn is_read_by(&self, client: &mut Client) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "nothing can be read any more");
            let reply = try_ask(client, "rich", "get=n", b"");
            if reply.status == 200 {
                return assert_eq!(reply.text(), self.sum.to_string());
            }
        }
    }

    /// Adds one as soon as that can be done.
    fn add_by(&mut self, client: &mut Client) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "nothing can be changed any more");
            let reply = try_ask(client, "rich", "increment=n,1", b"");
            if reply.status == 200 {
                let sum: u64 = reply.text().parse().unwrap();
                let possible = self.sum + 1..=self.sum + 1 + self.in_doubt;
                assert!(possible.contains(&sum), "{sum}, and not {possible:?}");
                (self.sum, self.in_doubt) = (sum, 0);
                return;
            }
            self.in_doubt += 1;
        }
    }
}

#[test]
fn who_may_not_is_told_whom_to_ask() {
    let users = "authorization { users = [{ user: ann, password: \"s@cret\" }] }\n";
    let Some(nats) = Nats::start_with(users) else {
        return;
    };
    let tree = site_in(&nats, "ann:s%40cret@");
    let server = Server::start(tree.root());
    set(&mut server.client(), "rich", "a", "one");
    assert_eq!(ask(&mut server.client(), "rich", "get=a"), "one");
    drop(server);
    // Nobody there, and somebody who is not let in.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = nats.address();
    for (url, says) in [
        (format!("nats://{free}"), format!("nats://{free}: IO error")),
        (
            format!("nats://ann:wrong@{address}"),
            format!("nats://{address}: authorization violation"),
        ),
    ] {
        let tree = site();
        tree.put(
            "wasmhost.toml",
            format!("[groups.rich.grants]\nkeyvalue = \"{url}\"\n"),
        );
        let server = Server::start(tree.root());
        assert_eq!(refusal(&mut server.client(), "rich", "get=a"), "the store failed");
        server.wait_for_log(&says);
    }
}

/// Whoever made the bucket, and whatever else they did there.
#[test]
fn a_bucket_of_others_is_taken_as_far_as_it_fits() {
    let Some(nats) = Nats::start() else { return };
    let url = format!("nats://{}", nats.address());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bucket = |name: &str, history: i64| {
        let (bucket, subjects) = (format!("KV_{name}"), vec![format!("$KV.{name}.>")]);
        runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(&url).await.unwrap());
            let config = stream::Config {
                name: bucket,
                subjects,
                max_messages_per_subject: history,
                allow_direct: true,
                allow_rollup: true,
                ..stream::Config::default()
            };
            context.create_stream(config).await.unwrap();
            context.get_key_value(name).await.unwrap()
        })
    };
    let store = bucket("wasmhost_rich", 1);
    bucket("wasmhost_other", 5);
    runtime.block_on(async {
        for key in ["stays", "goes", "a.key.that.is.not.ours"] {
            store.put(key, "one".into()).await.unwrap();
        }
        store.delete("goes").await.unwrap();
    });
    let tree = site_in(&nats, "");
    let server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(ask(&mut client, "rich", "get=stays"), "one");
    assert_eq!(ask(&mut client, "rich", "get=goes"), "nothing");
    assert!(ask(&mut client, "rich", "list").starts_with("1 keys"));
    assert_eq!(ask(&mut client, "rich", "add-by-swap=goes"), "1");
    assert!(ask(&mut client, "rich", "list").starts_with("2 keys"));
    assert_eq!(refusal(&mut client, "other", "get=a"), "the store failed");
    server.wait_for_log("the bucket wasmhost_other keeps older values too: make it with a history of 1");
}
