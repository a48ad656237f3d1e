//! The same in a Redis, the real one.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use super::{ask, does_all, refusal, set, site, two_generations_write};
use crate::support::{Client, Server, Tool, Tree, connect, wasmhost};

/// Killed with the value.
struct Redis {
    process: Child,
    port: u16,
    _folder: Tree,
}

impl Redis {
    /// `None`, and loudly so, where there is none.
    fn start() -> Option<Self> {
        Tool::new("redis-server")?;
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = Tree::empty();
        Some(Self::start_at(port, folder))
    }

    fn start_at(port: u16, folder: Tree) -> Self {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--port",
            &port.to_string(),
            "--dir",
        ]);
        let mut process = command.arg(folder.root()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        assert!(lines.any(|line| line.unwrap().contains("Ready to accept connections")));
        // It ends where nobody reads what it says.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What the Redis itself answers.
    fn says(&self, command: &str) -> String {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = connect(&format!("127.0.0.1:{}", self.port));
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap().unwrap();
        match first.starts_with('$') {
            true => lines.next().unwrap().unwrap(),
            false => first,
        }
    }

    fn stop(mut self) -> (u16, Tree) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (self.port, std::mem::replace(&mut self._folder, Tree::empty()))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both groups have their space in the same Redis.
fn site_in(redis: &Redis) -> Tree {
    let tree = site();
    let url = redis.url();
    let granted = ["rich", "other"].map(|group| format!("[groups.{group}.grants]\nkeyvalue = \"{url}\"\n"));
    tree.put("wasmhost.toml", granted.concat());
    tree
}

#[test]
fn everything_is_done_in_a_redis_too() {
    let Some(redis) = Redis::start() else { return };
    let tree = site_in(&redis);
    let server = Server::start(tree.root());
    let mut client = server.client();
    does_all(&mut client);
    set(&mut client, "rich", "a", "one");
    assert_eq!(redis.says("GET wasmhost:rich:a"), "one");
    let command = |arguments: &[&str]| {
        let mut command = wasmhost();
        command.args(["kv", "--root"]).arg(tree.root()).args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(command(&["rich", "list"]), "a\n");
    assert_eq!(command(&["rich", "get", "a"]), "one");
    assert!(command(&["rich", "export"]).contains(r#"{"key":"a","value":"b25l"}"#));
    assert!(!tree.path(".wasmhost/keyvalue.redb").exists());
}

#[test]
fn two_generations_write_one_key_of_a_redis() {
    let Some(redis) = Redis::start() else { return };
    two_generations_write(&site_in(&redis));
}

#[test]
fn a_redis_that_is_gone_is_an_error_until_it_is_back() {
    let Some(redis) = Redis::start() else { return };
    let tree = site_in(&redis);
    // Its address is a secret.
    tree.put("secrets/redis", redis.url());
    tree.put(
        "wasmhost.toml",
        "[groups.rich.grants]\nkeyvalue = { file = \"secrets/redis\" }\n",
    );
    let server = Server::start(tree.root());
    let mut client: Client = server.client();
    set(&mut client, "rich", "a", "one");
    let (port, folder) = redis.stop();
    assert_eq!(refusal(&mut client, "rich", "get=a"), "the store failed");
    server.wait_for_log("a call of wasi:keyvalue failed");
    let _redis = Redis::start_at(port, folder);
    // It may be seen only with the next call that the connection is there again.
    let back = (0..100).any(|_| super::try_ask(&mut client, "rich", "get=a", b"").status == 200);
    assert!(back, "the server does not connect again");
    assert_eq!(ask(&mut client, "rich", "get=a"), "nothing");
}
