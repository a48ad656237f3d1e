//! A running `wasmhost serve` on a tree of a test's own: a process with a free port and its own state
//! directory, without this one's environment, read by its events. Knows no scenario.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    client::{Moves, TestClient},
    project::TestProject,
    stop::Stop,
};
use crate::{admin, diagnostic::Diagnostic};

/// How long a start may take, and the answer to an order.
const START: Duration = Duration::from_secs(120);
/// Bytes of a log that are held; what comes after is dropped.
const LONGEST_LOG: usize = 1 << 20;

/// What a host is started with, beside a project.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// The program; where not given, what `WASMHOST` names, or `wasmhost` beside this one, or on the path.
    pub program: Option<PathBuf>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Further arguments of `wasmhost serve`, as `--frozen`.
    pub arguments: Vec<OsString>,
    /// Ends all waiting for it.
    pub stop: Stop,
}

/// A server of a test. Killed with the value.
pub struct TestHost {
    child: Child,
    told: Arc<Told>,
    url: String,
    state_dir: PathBuf,
    moves: Moves,
}

/// Why a host does not do as it should.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{0} cannot be started: {1}")]
    Start(PathBuf, io::Error),
    #[error("the server ended; it said:\n{0}")]
    Ended(String),
    #[error("no event {what} came within {}", humantime::format_duration(*.within))]
    TooLate { what: String, within: Duration },
    #[error("{}", .0.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Diagnostic>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the server has of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of memory that it had at most.
    pub peak_memory: u64,
    pub handles: usize,
    pub threads: u64,
}

/// What the server has told so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    state: Mutex<Telling>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Telling {
    events: Vec<Value>,
    /// Of each event, whether somebody waited for it.
    taken: Vec<bool>,
    log: String,
    /// Nothing more comes.
    ended: bool,
}

impl TestHost {
    /// Serves `project`, and waits until it is ready.
    ///
    /// # Errors
    /// The program is not found, or does not start serving: with what it said.
    pub fn start(project: &TestProject) -> Result<Self, HostError> {
        Self::start_with(project, &HostOptions::default())
    }

    /// # Errors
    /// As of `start`.
    pub fn start_with(project: &TestProject, options: &HostOptions) -> Result<Self, HostError> {
        let program = options.program.clone().unwrap_or_else(find_program);
        let mut command = Command::new(&program);
        command
            .arg("serve")
            .arg(project.root())
            .args(["--listen", "127.0.0.1:0", "--format", "json", "--state-dir"])
            .arg(project.state_dir())
            .arg("--movable-clock")
            .args(&options.arguments)
            .env_clear()
            .envs(options.env.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .map_err(|error| HostError::Start(program, error))?;
        let mut host = Self {
            told: Arc::default(),
            child,
            url: String::new(),
            state_dir: project.state_dir(),
            moves: Moves::default(),
        };
        options.stop.covers(&host.told);
        host.listen();
        let ready = host.wait_for("ready", START, |_| true)?;
        ready["url"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut host.url);
        Ok(host)
    }

    /// Follows both outputs, each with a thread that ends with it. It has ended when both have: why is in the log.
    fn listen(&mut self) {
        let logging = self.child.stderr.take().map(|stderr| {
            let told = self.told.clone();
            thread::spawn(move || {
                let lines = BufReader::new(stderr).lines().map_while(Result::ok);
                lines.for_each(|line| told.tell(|telling| telling.log(&line)));
            })
        });
        if let Some(stdout) = self.child.stdout.take() {
            let told = self.told.clone();
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                let events = lines.filter_map(|line| serde_json::from_str(&line).ok());
                events.for_each(|event| told.tell(|telling| telling.event(event)));
                // One that panicked has logged what it could.
                let _ = logging.map(thread::JoinHandle::join);
                told.end();
            });
        }
    }

    /// `http://127.0.0.1:43127`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client with a connection of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn client(&self) -> io::Result<TestClient> {
        Ok(TestClient::new(&self.url)?.following(&self.moves))
    }

    /// The first event of this name that `matches` and that nobody has waited for yet; it need not come
    /// after others that were waited for.
    ///
    /// # Errors
    /// It does not come in time, or the server ends.
    pub fn wait_for(
        &self,
        name: &str,
        within: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value, HostError> {
        let deadline = Instant::now() + within;
        let mut telling = self.told.lock();
        loop {
            if let Some(event) = telling.take(|event| event["event"] == name && matches(event)) {
                return Ok(event);
            }
            if telling.ended {
                return Err(HostError::Ended(telling.log.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = name.to_owned();
                return Err(HostError::TooLate { what, within });
            }
            let waited = self.told.more.wait_timeout(telling, left);
            telling = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As `wait_for`, whatever it holds, within ten seconds.
    ///
    /// # Errors
    /// As of `wait_for`.
    pub fn wait(&self, name: &str) -> Result<Value, HostError> {
        self.wait_for(name, Duration::from_secs(10), |_| true)
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Value> {
        self.told.lock().events.clone()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.told.lock().log.clone()
    }

    /// Has it serve what lies on disk now, and waits until that is served or refused. What came of each group:
    /// `{"groups": {"shop": {"from": 1, "generation": 2, "rejected": null}}}`. Its events have come then.
    ///
    /// # Errors
    /// No answer.
    pub fn swap(&self) -> Result<Value, HostError> {
        let answer =
            self.order(async |client: &mut admin::Client| client.post("/v1/swap", &json!({})).await)?;
        for (group, outcome) in answer["groups"].as_object().into_iter().flatten() {
            self.told_of(group, outcome)?;
        }
        Ok(answer)
    }

    /// Waits for the events that led to this outcome: they are printed after the order is answered.
    fn told_of(&self, group: &str, outcome: &Value) -> Result<(), HostError> {
        let (generation, refused) = (&outcome["generation"], &outcome["rejected"]);
        let deadline = Instant::now() + START;
        let mut telling = self.told.lock();
        loop {
            let told = |is: &dyn Fn(&Value) -> bool| telling.events.iter().any(is);
            let serves = generation.is_null() || told(&|event| begins(event, group, generation));
            if telling.ended || (serves && (refused.is_null() || told(&|event| event == refused))) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("of what serves of {group}");
                return Err(HostError::TooLate { what, within: START });
            }
            let waited = self.told.more.wait_timeout(telling, left);
            telling = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Moves the server's clock on; it never stands still and never goes back. Guests see it, wall clock and
    /// monotonic alike, and all limits on time go by it: those of requests, connections, drains and starts, and how
    /// long the server waits for a tree to settle. What is under way has taken as much longer, so its time may be
    /// over; a [`Load`](super::Load) is put to rest first. What a guest sleeps takes its real time, and so does what
    /// the machine needs. How far the clock is ahead of the system's then.
    ///
    /// # Errors
    /// No answer.
    pub fn advance(&self, by: Duration) -> Result<Duration, HostError> {
        let by = json!({ "advance_ms": u64::try_from(by.as_millis()).unwrap_or(u64::MAX) });
        let moved = self.order(async |client: &mut admin::Client| client.post("/v1/clock", &by).await)?;
        self.moves.add();
        Ok(Duration::from_millis(moved["ahead_ms"].as_u64().unwrap_or(0)))
    }

    /// What runs, as `wasmhost status --json` shows it.
    ///
    /// # Errors
    /// No answer.
    pub fn status(&self) -> Result<Value, HostError> {
        self.order(async |client: &mut admin::Client| client.get("/v1/status").await)
    }

    fn order(
        &self,
        give: impl AsyncFnOnce(&mut admin::Client) -> Result<Value, Vec<Diagnostic>>,
    ) -> Result<Value, HostError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answered = runtime.block_on(async {
            let order = async {
                let client = admin::Client::connect(&self.state_dir).await;
                let client = client.map_err(|error| HostError::Refused(vec![error]))?;
                let mut client = client.ok_or_else(|| self.gone())?;
                give(&mut client).await.map_err(HostError::Refused)
            };
            tokio::time::timeout(START, order).await
        });
        answered.unwrap_or_else(|_| {
            let what = "that the order was carried out".into();
            Err(HostError::TooLate { what, within: START })
        })
    }

    fn gone(&self) -> HostError {
        HostError::Ended(self.log())
    }

    /// What it has of the machine now.
    ///
    /// # Errors
    /// The system's, where the server has ended or does not tell.
    pub fn holds(&self) -> io::Result<Holds> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(process.join("status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.map(|line| line.trim().trim_end_matches(" kB"));
            number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(Holds {
            memory: number("VmRSS:") << 10,
            peak_memory: number("VmHWM:") << 10,
            handles: fs::read_dir(process.join("fd"))?.count(),
            threads: number("Threads:"),
        })
    }

    /// Has it finish what runs, and waits for its end.
    ///
    /// # Errors
    /// The system's.
    pub fn stop(mut self) -> Result<ExitStatus, HostError> {
        self.order(async |client: &mut admin::Client| client.post("/v1/drain", &json!({})).await)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Telling> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, tell: impl FnOnce(&mut Telling)) {
        tell(&mut self.lock());
        self.more.notify_all();
    }

    /// Nobody waits for more.
    pub(super) fn end(&self) {
        self.tell(|telling| telling.ended = true);
    }
}

impl Telling {
    fn event(&mut self, event: Value) {
        self.events.push(event);
        self.taken.push(false);
    }

    fn log(&mut self, line: &str) {
        if self.log.len() + line.len() < LONGEST_LOG {
            self.log += line;
            self.log.push('\n');
        }
    }

    fn take(&mut self, matches: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut untaken = (0..self.events.len()).filter(|&at| !self.taken[at]);
        let found = untaken.find(|&at| matches(&self.events[at]))?;
        self.taken[found] = true;
        Some(self.events[found].clone())
    }
}

/// Whether with this event a generation began to serve.
fn begins(event: &Value, group: &str, generation: &Value) -> bool {
    let is_it = |event: &Value, number: &str| event["group"] == group && event[number] == *generation;
    match event["event"].as_str() {
        Some("ready") => {
            let mut groups = event["groups"].as_array().into_iter().flatten();
            groups.any(|event| is_it(event, "generation"))
        }
        Some("swapped") => is_it(event, "generation"),
        Some("reverted") => is_it(event, "to"),
        _ => false,
    }
}

/// The program under test. A test binary lies one folder below what it tests.
fn find_program() -> PathBuf {
    if let Some(named) = std::env::var_os("WASMHOST") {
        return named.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("wasmhost"));
    let mut beside = beside.filter(|program| Path::is_file(program));
    beside.next().unwrap_or_else(|| "wasmhost".into())
}
