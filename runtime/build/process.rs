//! Runs a program to its end, line by line, within a time limit and until it is told to stop: then the program
//! and all that it started are ended. Knows not what the programs are for.

use std::{
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command as AsyncCommand},
};

use super::{Setting, command::CommandError};

/// How long programs have to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);
/// How long the rest of its output is waited for when a program has ended: what it left running may hold it.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("it was told to stop")]
    Stopped,
    #[error("it was still running after {} and was ended", humantime::format_duration(*.0))]
    TimeOver(Duration),
}

/// A line of a program's output, without its end.
pub enum Line {
    Out(String),
    Err(String),
}

/// Runs `command` and gives each line to `take`.
pub async fn run(
    command: Command,
    setting: &Setting,
    mut take: impl FnMut(Line),
) -> Result<ExitStatus, RunError> {
    let mut running = Running::start(command)?;
    let stdout = running.child.stdout.take();
    let stderr = running.child.stderr.take();
    let (sender, mut lines) = tokio::sync::mpsc::channel(256);
    let out = sender.clone();
    let reading = async move {
        tokio::join!(
            read(stdout, |line| out.send(Line::Out(line))),
            read(stderr, |line| sender.send(Line::Err(line)))
        );
    };
    let reading = tokio::spawn(reading);
    let over = tokio::time::sleep(setting.limit);
    tokio::pin!(over);
    let ended = loop {
        tokio::select! {
            // Lines first: what a program said belongs before its end.
            biased;
            () = setting.stop.cancelled() => break Err(RunError::Stopped),
            () = &mut over => break Err(RunError::TimeOver(setting.limit)),
            Some(line) = lines.recv() => take(line),
            status = running.child.wait() => break Ok(status),
        }
    };
    match ended {
        Ok(status) => {
            running.group = None;
            let _ = tokio::time::timeout(LAST_LINES, async {
                while let Some(line) = lines.recv().await {
                    take(line);
                }
            })
            .await;
            reading.abort();
            status.map_err(|source| {
                let program = "a build tool".to_owned();
                CommandError::Start { program, source }.into()
            })
        }
        Err(error) => {
            running.end().await;
            reading.abort();
            Err(error)
        }
    }
}

async fn read<S: AsyncRead + Unpin, F: Future>(stream: Option<S>, mut send: impl FnMut(String) -> F) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(stream.read_until(b'\n', &mut line).await, Ok(read) if read > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        send(text.trim_end_matches(['\n', '\r']).to_owned()).await;
        line.clear();
    }
}

/// A program in a process group of its own. Dropped, the whole group is killed.
struct Running {
    child: Child,
    /// `None` once it has ended by itself.
    group: Option<Pid>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, CommandError> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut command = AsyncCommand::from(command);
        let child = command.spawn();
        let child = child.map_err(|error| CommandError::from_start(command.as_std(), error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = id.and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    async fn end(mut self) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        // What it started may not have heard.
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may be gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn setting(limit: Duration) -> Setting {
        Setting {
            colours: false,
            limit,
            stop: CancellationToken::new(),
            sink: Arc::new(|_| {}),
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn is_gone(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    }

    #[tokio::test]
    async fn both_outputs_are_read_to_their_end() {
        let mut lines = Vec::new();
        let take = |line| lines.push(line);
        let setting = setting(Duration::from_secs(60));
        let script = shell("echo one; echo two >&2; echo -n three; exit 3");
        let status = run(script, &setting, take).await;
        assert_eq!(status.expect("runs").code(), Some(3));
        let out = |line: &Line| match line {
            Line::Out(line) => Some(line.clone()),
            Line::Err(_) => None,
        };
        assert_eq!(lines.iter().filter_map(out).collect::<Vec<_>>(), ["one", "three"]);
        assert!(
            lines
                .iter()
                .any(|line| matches!(line, Line::Err(line) if line == "two"))
        );
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_all_that_it_started() {
        let mut pids = Vec::new();
        let take = |line| {
            if let Line::Out(pid) = line {
                pids.push(pid);
            }
        };
        let began = Instant::now();
        let hangs = shell("trap '' TERM; sleep 600 & echo $!; echo $$; wait; sleep 600");
        let ended = run(hangs, &setting(Duration::from_millis(300)), take).await;
        assert!(matches!(ended, Err(RunError::TimeOver(_))), "{ended:?}");
        assert!(began.elapsed() < Duration::from_secs(60));
        assert_eq!(pids.len(), 2);
        // Killed processes go when the system gets to it.
        for pid in &pids {
            while !is_gone(pid) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_stop_ends_it() {
        let setting = setting(Duration::from_secs(600));
        let stop = setting.stop.clone();
        let take = |_| stop.cancel();
        let ended = run(shell("echo ready; sleep 600"), &setting, take).await;
        assert!(matches!(ended, Err(RunError::Stopped)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_missing_program_is_told_apart() {
        let missing = Command::new("wasmhost-no-such-program");
        let ended = run(missing, &setting(Duration::from_secs(60)), |_| {}).await;
        assert!(matches!(
            ended,
            Err(RunError::Command(CommandError::Missing { .. }))
        ));
    }
}
