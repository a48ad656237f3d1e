//! A fleet behind load balancers: under load, through many releases, and while its servers are started anew.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{
    Place,
    balancer::{Balancer, listens},
    cable::Cable,
    committed,
};
use crate::{
    releases::push,
    support::{Client, Server, wat_site::page},
};

const CLIENTS: usize = 8;

#[test]
fn a_client_that_has_seen_a_release_is_never_answered_by_an_older_one() {
    let Some(mut place) = Place::new() else { return };
    let manifest =
        "[server.fleet]\nlease = \"1s\"\npin = true\n[server.ready]\npath = \"/ready\"\nnotice = \"0s\"\n";
    place.tree.put("wasmhost.toml", manifest);
    push(&place.tree, &place.registry.release());
    let cable = Cable::to(place.nats.address());
    let state = tempfile::tempdir().unwrap();
    let fleet = format!("nats://{}/site", cable.address());
    let mut servers = place.servers(2);
    let mut apart = Server::start_command(place.command_over(state.path(), &fleet));
    committed(&mut apart, 1);
    cable.cut();
    place.push(page(2, ""));
    servers.iter_mut().for_each(|server| drop(committed(server, 2)));

    let fresh = servers[0].client().get("/shop/page");
    let cookie = fresh.header("set-cookie").unwrap().split(';').next().unwrap();
    assert_eq!((fresh.body[0], cookie), (2, "wasmhost-commit=2"));
    let asks = |mut client: Client| client.request("GET", "/shop/page", &[("cookie", cookie)], b"");
    let behind = asks(apart.client());
    assert_eq!(behind.status, 503, "{behind:?}");
    assert!(behind.header("retry-after").is_some(), "{behind:?}");
    // Who has seen nothing yet is answered with what there is.
    assert_eq!(apart.client().get("/shop/page").body[0], 1);
    servers.push(apart);
    let fronts = [Balancer::nginx(&servers), Balancer::haproxy(&servers)];
    for front in fronts.iter().flatten() {
        for _ in 0..12 {
            let reply = asks(front.client());
            assert_eq!((reply.status, reply.body[0]), (200, 2), "{reply:?}");
            assert_eq!(reply.header("set-cookie"), None, "it knows already");
        }
    }
}

#[test]
fn behind_nginx_no_request_fails_and_no_fleet_is_mixed_after_a_commit() {
    let Some(mut place) = Place::new() else { return };
    let releases = std::env::var("WASMHOST_FLEET_RELEASES").ok();
    let releases = releases.map_or(6, |text| text.parse().unwrap());
    let mut servers = place.servers(5);
    servers.iter_mut().for_each(|server| drop(committed(server, 1)));
    let Some(front) = Balancer::nginx(&servers) else {
        return;
    };
    let (is_over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut apart = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = front.client();
                while !is_over.load(Ordering::Relaxed) {
                    let reply = client.get("/shop/page");
                    assert_eq!(reply.status, 200, "{reply:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                    // It ends a connection after a thousand requests, and says so.
                    if reply.header("connection") == Some("close") {
                        client = front.client();
                    }
                }
            });
        }
        for number in 2..releases + 2 {
            place.push(page(number, ""));
            let times: Vec<jiff::Timestamp> = servers
                .iter_mut()
                .map(|server| {
                    committed(server, number)["time"]
                        .as_str()
                        .unwrap()
                        .parse()
                        .unwrap()
                })
                .collect();
            let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
            apart.push(Duration::try_from(last.duration_since(*first)).unwrap());
            // From here on every server answers with it.
            for _ in 0..2 * servers.len() {
                let reply = front.client().get("/shop/page");
                assert_eq!(u64::from(reply.body[0]), number, "{reply:?}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    apart.sort();
    println!(
        "{} releases over 5 servers behind nginx, {} requests, none failed; all had committed within {:?} (median), {:?} (most)",
        apart.len(),
        asked.load(Ordering::Relaxed),
        apart[apart.len() / 2],
        apart[apart.len() - 1]
    );
    assert!(asked.load(Ordering::Relaxed) > 100, "there was load");
}

/// Clients that ask until it is over; none of them sees a failure, or what is older than `oldest`.
struct Load {
    is_over: AtomicBool,
    asked: AtomicU64,
    oldest: AtomicU64,
}

impl Load {
    fn ask(&self, front: &Balancer, method: &str) {
        let mut client = front.client();
        while !self.is_over.load(Ordering::Relaxed) {
            let oldest = self.oldest.load(Ordering::SeqCst);
            let reply = client.request(method, "/shop/page", &[], b"");
            assert_eq!(reply.status, 200, "{method}: {reply:?}");
            assert!(
                u64::from(reply.body[0]) >= oldest,
                "{oldest} is committed: {reply:?}"
            );
            self.asked.fetch_add(1, Ordering::Relaxed);
            if reply.header("connection") == Some("close") {
                client = front.client();
            }
        }
    }

    /// Until others have answered so many.
    fn go_on(&self, more: u64) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        while self.asked.load(Ordering::Relaxed) < until {
            thread::yield_now();
        }
    }
}

/// The load ends with the value, however that comes.
struct Ends<'l>(&'l Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn behind_haproxy_who_is_not_ready_gets_no_request_and_none_fails() {
    let Some(mut place) = Place::new() else { return };
    let manifest = "[server.fleet]\nlease = \"1s\"\n[server.ready]\npath = \"/ready\"\nnotice = \"2s\"\n";
    place.tree.put("wasmhost.toml", manifest);
    push(&place.tree, &place.registry.release());
    let cable = Cable::to(&place.registry.address);
    let mut servers = place.servers(3);
    servers.iter_mut().for_each(|server| drop(committed(server, 1)));
    let Some(front) = Balancer::haproxy(&servers) else {
        return;
    };
    assert_eq!(front.client().get("/ready").status, 404, "it is not for clients");
    let load = Load {
        is_over: AtomicBool::new(false),
        asked: AtomicU64::new(0),
        oldest: AtomicU64::new(1),
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (load, front) = (&load, &front);
            scope.spawn(move || load.ask(front, ["GET", "POST"][client % 2]));
        }
        let ends = Ends(&load);
        for number in 2..=3 {
            let (server, state) = (servers.remove(0), place.states.remove(0));
            let address = server.authority().to_owned();
            assert_eq!(server.client().get("/ready").status, 200);
            load.go_on(100);
            server.signal("TERM");
            let left = front.wait_until(&address, false).given;
            let (status, _, log) = server.ended();
            assert!(status.success() && !log.contains("still running"), "{log}");
            place.tree.put("shop/static/large", [number as u8; 64 << 10]);
            place.push(page(number, ""));
            servers
                .iter_mut()
                .for_each(|server| drop(committed(server, number)));
            load.oldest.store(number, Ordering::SeqCst);

            // It comes back where it was, by a way to the registry on which what is large takes long.
            cable.slow();
            let mut command = place.command_beside(state.path(), cable.address());
            command.args(["--listen", &address]);
            let back = scope.spawn(|| Server::start_as_told(command));
            while !listens(&address) {
                thread::yield_now();
            }
            load.go_on(500);
            let standing = front.standing(&address);
            assert!(!standing.is_up && standing.given == left, "{left}, {standing:?}");
            cable.mend();
            let mut back = back.join().unwrap();
            committed(&mut back, number);
            front.wait_until(&address, true);
            while front.standing(&address).given == left {
                thread::yield_now();
            }
            servers.push(back);
            place.states.push(state);
        }
        drop(ends);
    });
    println!("{} requests, none failed", load.asked.load(Ordering::Relaxed));
}
