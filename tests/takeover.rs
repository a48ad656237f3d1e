//! A service manager: it holds the socket, is told how the server does, and replaces it under load.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use crate::support::{Client, PATIENCE, Server, Tool, Tree, wasmhost, wat_site::site};

/// Where a server says how it does.
struct Manager {
    socket: UnixDatagram,
    tree: Tree,
}

impl Manager {
    fn new(tree: Tree) -> Self {
        let socket = UnixDatagram::bind(tree.path("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, tree }
    }

    fn heard(&self) -> String {
        let mut word = [0; 256];
        let length = self.socket.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..length]).trim_end().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = wasmhost();
        command.arg("serve").arg(self.tree.root());
        command.env("NOTIFY_SOCKET", self.tree.path("notify"));
        command
    }
}

#[test]
fn a_service_manager_is_told_of_the_start_of_a_reload_and_of_the_end() {
    let manager = Manager::new(site(1));
    let mut command = manager.command();
    command.env("WATCHDOG_USEC", "200000");
    let server = Server::start_command(command);
    assert_eq!(manager.heard(), "READY=1");
    assert_eq!(manager.heard(), "WATCHDOG=1");
    server.signal("HUP");
    let next = || loop {
        match manager.heard() {
            word if word == "WATCHDOG=1" => {}
            word => return word,
        }
    };
    let reloading = next();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(next(), "READY=1");
    server.signal("TERM");
    assert_eq!(next(), "STOPPING=1");
    assert!(server.ended().0.success());
}

/// Replaces itself by the program, with its standard input as socket 3.
const PASS: &str = "import os, sys\n\
    os.dup2(0, 3)\n\
    os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
    os.execv(sys.argv[1], sys.argv[1:])";

/// The server's command, as one that is given a socket.
fn passing(manager: &Manager, listener: &TcpListener) -> Child {
    let plain = manager.command();
    let mut command = Command::new("python3");
    command
        .args(["-c", PASS])
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let socket: std::os::fd::OwnedFd = listener.try_clone().unwrap().into();
    command
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_server_is_replaced_under_load_and_no_request_fails() {
    if Tool::new("python3").is_none() {
        return;
    }
    let manager = Manager::new(site(1));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let mut server = passing(&manager, &listener);
    assert_eq!(manager.heard(), "READY=1");
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let load = |_| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    until_told(&authority, &answered);
                }
            })
        };
        let clients: Vec<_> = (0..64).map(load).collect();
        for _ in 0..3 {
            let before = answered.load(Relaxed);
            while answered.load(Relaxed) < before + 1000 {
                thread::yield_now();
            }
            let next = passing(&manager, &listener);
            assert_eq!(manager.heard(), "READY=1");
            signal(&server, "TERM");
            assert_eq!(manager.heard(), "STOPPING=1");
            assert!(server.wait().unwrap().success());
            server = next;
        }
        over.store(true, Relaxed);
        signal(&server, "TERM");
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert!(server.wait().unwrap().success());
}

fn signal(server: &Child, name: &str) {
    let pid = server.id().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
    assert!(sent.unwrap().success());
}

/// Asks on one connection until the server says that it was the last. Whatever fails fails the test.
pub fn until_told(authority: &str, answered: &AtomicU64) {
    let mut stream = BufReader::new(TcpStream::connect(authority).unwrap());
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let request = format!("GET /api/page HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).unwrap() > 0 && line != "\r\n" {
            head += &line.to_ascii_lowercase();
            line.clear();
        }
        assert!(head.starts_with("http/1.1 200 "), "{head:?}");
        std::io::copy(&mut std::io::Read::take(&mut stream, 1), &mut std::io::sink()).unwrap();
        answered.fetch_add(1, Relaxed);
        if head.contains("connection: close") {
            return;
        }
    }
}

#[test]
fn a_server_takes_the_admin_socket_when_its_predecessor_has_gone() {
    let tree = site(1);
    let first = Server::start(tree.root());
    let second = Server::start(tree.root());
    first.signal("TERM");
    assert!(first.ended().0.success());
    second.wait_for_log("commands reach this server now");
    let status = wasmhost()
        .args(["status", "--json", "--root"])
        .arg(tree.root())
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["pid"], second.pid());
    assert_eq!(Client::new(second.url()).get("/api/page").status, 200);
}

#[test]
fn what_is_deployed_is_well_formed() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/deploy");
    let dashboard = fs::read_to_string(deploy.join("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let told = fs::read_to_string(deploy.join("alerts.yml")).unwrap() + &dashboard.to_string();
    let counted = fs::read_to_string(deploy.join("../metrics/requests.rs")).unwrap()
        + &fs::read_to_string(deploy.join("../metrics/swaps.rs")).unwrap()
        + &fs::read_to_string(deploy.join("../metrics/now.rs")).unwrap();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    for (at, _) in told.match_indices("wasmhost_") {
        let name: String = told[at..].chars().take_while(|c| is_name(*c)).collect();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(&name);
        assert!(counted.contains(&format!("\"{family}\"")), "nobody counts {name}");
    }
    if let Some(promtool) = Tool::new("promtool") {
        let rules = deploy.join("alerts.yml");
        promtool.run(&["check", "rules", rules.to_str().unwrap()]);
    }
}

#[test]
fn systemd_understands_the_units() {
    let Some(analyze) = Tool::new("systemd-analyze") else {
        return;
    };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/deploy");
    let folder = tempfile::tempdir().unwrap();
    let program = wasmhost().get_program().to_str().unwrap().to_owned();
    let mut arguments = vec!["verify".to_owned(), "--man=no".to_owned()];
    for unit in ["wasmhost.service", "wasmhost.socket"] {
        let text = fs::read_to_string(deploy.join(unit)).unwrap();
        let here = folder.path().join(unit);
        // It looks whether the program is there.
        fs::write(&here, text.replace("/usr/local/bin/wasmhost", &program)).unwrap();
        arguments.push(here.to_str().unwrap().to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    analyze.run(&arguments);
}

#[test]
fn the_manual_and_completions_come_from_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let written = wasmhost().arg("manual").arg(folder.path()).status().unwrap();
    assert!(written.success());
    let page = fs::read_to_string(folder.path().join("wasmhost-serve.1")).unwrap();
    assert!(page.contains("\\-\\-access\\-log"), "{page}");
    for (shell, says) in [
        ("bash", "complete -F"),
        ("fish", "complete -c wasmhost"),
        ("zsh", "#compdef wasmhost"),
    ] {
        let script = wasmhost().args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8_lossy(&script.stdout).contains(says));
    }
}
