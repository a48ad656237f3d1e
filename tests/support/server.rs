//! A running `wasmhost serve`, read by its events.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use serde_json::Value;

use super::{Client, PATIENCE, wasmhost};

/// Killed with the value.
pub struct Server {
    child: Child,
    events: Receiver<Value>,
    /// Events that were waited past.
    seen: Vec<Value>,
    log: Arc<Log>,
    /// Ends with the log.
    logging: Option<JoinHandle<()>>,
    url: String,
}

/// What a server has of its machine.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// Bytes.
    pub memory: u64,
    pub handles: usize,
    pub threads: u64,
}

/// What the server has logged so far.
#[derive(Default)]
struct Log {
    text: Mutex<String>,
    more: Condvar,
}

impl Log {
    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap()
    }

    /// Reads until there is no more.
    fn follow(&self, stderr: ChildStderr) {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while stderr.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            *self.text() += &String::from_utf8_lossy(&line);
            self.more.notify_all();
            line.clear();
        }
    }
}

impl Server {
    /// Serves `root` on a free port, and waits until it is ready.
    pub fn start(root: &Path) -> Self {
        Self::start_with(root, &[])
    }

    pub fn start_with(root: &Path, arguments: &[&str]) -> Self {
        let mut command = wasmhost();
        command.arg("serve").arg(root).args(arguments);
        Self::start_command(command)
    }

    /// As `start`, on these addresses; where there are none, as the manifest says.
    pub fn start_on(root: &Path, addresses: &[&str]) -> Self {
        let mut command = wasmhost();
        command.arg("serve").arg(root);
        for address in addresses {
            command.args(["--listen", address]);
        }
        Self::start_ready(command)
    }

    /// As `start`, of a command that lacks only where to listen and how to print.
    pub fn start_command(mut command: Command) -> Self {
        command.args(["--listen", "127.0.0.1:0"]);
        Self::start_ready(command)
    }

    /// As `start`, of a command that lacks only how to print.
    pub fn start_as_told(command: Command) -> Self {
        Self::start_ready(command)
    }

    fn start_ready(mut command: Command) -> Self {
        command.args(["--format", "json"]);
        let mut server = Self::spawn(command);
        let ready = server.wait("ready");
        server.url = ready["url"].as_str().expect("ready has a url").to_owned();
        server
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let log = Arc::<Log>::default();
        let followed = log.clone();
        let logging = std::thread::spawn(move || followed.follow(stderr));
        Self {
            child,
            events,
            seen: Vec::new(),
            log,
            logging: Some(logging),
            url: String::new(),
        }
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:8080`
    pub fn authority(&self) -> &str {
        self.url.split_once("://").expect("a url").1
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn holds(&self) -> Holds {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let number = line.trim().trim_end_matches(" kB");
            number.parse::<u64>().unwrap()
        };
        Holds {
            memory: number("VmRSS:") << 10,
            handles: std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
                .unwrap()
                .count(),
            threads: number("Threads:"),
        }
    }

    /// Bytes of memory that it has had at most.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// The next event of this name.
    pub fn wait(&mut self, event: &str) -> Value {
        self.wait_for(event, |_| true)
    }

    /// The next event of this name that `matches`. Those before it are passed over.
    pub fn wait_for(&mut self, event: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(found) if found["event"] == event && matches(&found) => return found,
                Ok(other) => self.seen.push(other),
                Err(_) => self.give_up(&format!("no event {event:?} came")),
            }
        }
    }

    /// An event that was waited for is among those that were seen.
    pub fn put_back(&mut self, event: Value) {
        self.seen.push(event);
    }

    /// Waits until the log says this.
    pub fn wait_for_log(&self, says: &str) {
        let silent = |log: &mut String| !log.contains(says);
        let waited = self
            .log
            .more
            .wait_timeout_while(self.log.text(), PATIENCE, silent);
        let (log, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "the log never says {says:?}:\n{log}");
    }

    /// All events since the start that nobody waited for.
    pub fn seen(&mut self) -> &[Value] {
        self.seen.extend(self.events.try_iter());
        &self.seen
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself: the exit status, the events that were left, and the log.
    pub fn ended(mut self) -> (ExitStatus, Vec<Value>, String) {
        let status = self.child.wait().unwrap();
        let log = self.whole_log();
        let mut events = std::mem::take(&mut self.seen);
        events.extend(self.events.iter());
        (status, events, log)
    }

    /// To its end: the server has ended.
    fn whole_log(&mut self) -> String {
        self.logging.take().map(JoinHandle::join);
        self.log.text().clone()
    }

    fn give_up(&mut self, what: &str) -> ! {
        let _ = self.child.kill();
        let log = self.whole_log();
        panic!("{what}; seen were {:#?}\nlog:\n{log}", self.seen);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
