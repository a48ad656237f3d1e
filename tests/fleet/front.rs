//! A fleet behind nginx, under load through many releases.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::{Place, cable::Cable, committed};
use crate::support::{Client, Server, Tool, connect, wat_site::page};

/// The reference that users get.
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runtime/deploy/nginx.conf");
const CLIENTS: usize = 8;

/// An nginx of a test's own; ended with the value.
struct Front {
    _folder: TempDir,
    child: Child,
    address: String,
}

impl Front {
    fn start(servers: &[Server]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let reference = fs::read_to_string(REFERENCE).unwrap();
        let mut lines = Vec::new();
        for line in reference.lines() {
            match line.trim() {
                at if at.starts_with("server 10.0.0.1:") => lines.extend(
                    servers
                        .iter()
                        .map(|server| line.replace("10.0.0.1:8080", server.authority())),
                ),
                at if at.starts_with("server 10.0.0.") => {}
                at if at.starts_with("listen ") => lines.push(format!("listen {address};")),
                at if at.starts_with("http {") => {
                    lines.push(line.into());
                    // What nginx writes, and what only root may have elsewhere.
                    for (name, path) in [
                        ("client_body", "a"),
                        ("proxy", "b"),
                        ("fastcgi", "c"),
                        ("uwsgi", "d"),
                        ("scgi", "e"),
                    ] {
                        lines.push(format!(
                            "{name}_temp_path {};",
                            folder.path().join(path).display()
                        ));
                    }
                    lines.push("access_log off;".into());
                }
                _ => lines.push(line.into()),
            }
        }
        let file = folder.path().join("nginx.conf");
        fs::write(&file, lines.join("\n")).unwrap();
        let pid = folder.path().join("pid");
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.path().join("errors"))
            .args(["-g", &format!("daemon off; pid {};", pid.display())])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // It listens before it says who it is.
        while std::net::TcpStream::connect(&address).is_err() {
            std::thread::yield_now();
        }
        Self {
            _folder: folder,
            child,
            address,
        }
    }

    fn client(&self) -> Client {
        Client::over(connect(&self.address), &self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Its workers end with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn a_client_that_has_seen_a_release_is_never_answered_by_an_older_one() {
    if Tool::known_by("nginx", "-v").is_none() {
        return;
    }
    let Some(mut place) = Place::new() else { return };
    place
        .tree
        .put("wasmhost.toml", "[server.fleet]\nlease = \"1s\"\npin = true\n");
    crate::releases::push(&place.tree, &place.registry.release());
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
    let front = Front::start(&servers);
    for _ in 0..12 {
        let reply = asks(front.client());
        assert_eq!((reply.status, reply.body[0]), (200, 2), "{reply:?}");
        assert_eq!(reply.header("set-cookie"), None, "it knows already");
    }
}

#[test]
fn behind_nginx_no_request_fails_and_no_fleet_is_mixed_after_a_commit() {
    if Tool::known_by("nginx", "-v").is_none() {
        return;
    }
    let Some(mut place) = Place::new() else { return };
    let releases = std::env::var("WASMHOST_FLEET_RELEASES").ok();
    let releases = releases.map_or(6, |text| text.parse().unwrap());
    let mut servers = place.servers(5);
    servers.iter_mut().for_each(|server| drop(committed(server, 1)));
    let front = Front::start(&servers);
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
