//! `wasmhost kv`.

use std::{
    io::{BufRead, Read, Write},
    process::ExitCode,
    sync::Arc,
};

use serde::Deserialize;
use serde_json::json;

use super::{print, runtime, state::StateDir};
use crate::{
    admin::Client,
    diagnostic::Diagnostic,
    keyvalue::{self, Answer, FILE, MAX_BATCH, Pair, Request, Spaces},
};

/// Bytes of values, in base64, that one request of an import brings, about.
const IMPORT: usize = 1 << 20;

/// See and change the keys and values of a group.
///
/// A running server is asked; where none runs, the file in its state directory is opened. What a group has
/// in a Redis or NATS is reached through a running server only.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    state_dir: StateDir,
    /// The group; one that is served no longer still has what it had.
    group: String,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Print the keys, one a line, in the order of their bytes.
    List,
    /// Print the value of a key as it is. Exit code 1 where there is none.
    Get { key: String },
    /// Set the value of a key.
    Set {
        key: String,
        /// Read from standard input where not given.
        value: Option<String>,
    },
    /// Delete a key, if it is there.
    Delete { key: String },
    /// Print all keys and values as JSON lines: {"key": "…", "value": "…"}, the value in base64.
    Export,
    /// Set what `export` has printed, from standard input; other keys stay.
    Import,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        state_dir,
        group,
        what,
    } = arguments;
    runtime()?.block_on(async {
        let mut asked = Asked::reach(&state_dir, group, &what).await?;
        let outcome = asked.run(what).await;
        if let Asked::File { spaces, .. } = asked {
            spaces.close().await;
        }
        outcome.map(|()| ExitCode::SUCCESS)
    })
}

/// Who has the keys and values.
enum Asked {
    Server { client: Client, group: String },
    File { spaces: Spaces, group: Arc<str> },
}

impl Asked {
    async fn reach(state_dir: &StateDir, group: String, what: &What) -> Result<Self, Vec<Diagnostic>> {
        let folder = state_dir.path();
        if let Some(client) = Client::connect(&folder).await.map_err(|error| vec![error])? {
            return Ok(Self::Server { client, group });
        }
        let file = folder.join(FILE);
        if !file.exists() && !matches!(what, What::Set { .. } | What::Import) {
            let message = format!("there are no keys and values in {}", folder.display());
            let help = "name the server's state directory with --state-dir DIR, or the folder that it serves with \
                        --root ROOT";
            return Err(vec![Diagnostic::new("keyvalue-missing", message).help(help)]);
        }
        let (spaces, group) = (Spaces::in_file(file), group.into());
        Ok(Self::File { spaces, group })
    }

    async fn ask(&mut self, request: Request) -> Result<Answer, Vec<Diagnostic>> {
        match self {
            Self::File { spaces, group } => {
                let answer = spaces.answer(group, request).await;
                answer.map_err(|error| vec![keyvalue::diagnostic(error)])
            }
            Self::Server { client, group } => {
                let body = json!({ "group": group, "request": request });
                let answer = client.post("/v1/keyvalue", &body).await?;
                Answer::deserialize(&answer).map_err(|error| {
                    let message = format!("the server's answer is of another shape: {error}");
                    vec![Diagnostic::new("admin-broken", message).machine()]
                })
            }
        }
    }

    async fn run(&mut self, what: What) -> Result<(), Vec<Diagnostic>> {
        match what {
            What::List => self.list().await,
            What::Get { key } => self.get(key).await,
            What::Set { key, value } => {
                let value = match value {
                    Some(value) => value.into_bytes(),
                    None => read_value()?,
                };
                let pairs = vec![Pair::new(key, &value)];
                self.ask(Request::Set { pairs }).await.map(drop)
            }
            What::Delete { key } => self.ask(Request::Delete { key }).await.map(drop),
            What::Export => self.export().await,
            What::Import => self.import().await,
        }
    }

    async fn list(&mut self) -> Result<(), Vec<Diagnostic>> {
        let mut cursor = None;
        loop {
            let page = self.ask(Request::List { cursor }).await?;
            // A guest chose them: as text, whatever a terminal would make of them.
            let lines = page.keys.iter().map(|key| shown(key) + "\n");
            print(&lines.collect::<String>())?;
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn get(&mut self, key: String) -> Result<(), Vec<Diagnostic>> {
        let missing = Diagnostic::new("key-missing", format!("there is no key {key:?}"));
        let answer = self.ask(Request::Get { key }).await?;
        let pair = answer.pairs.first().ok_or_else(|| vec![missing])?;
        let value = pair.bytes().map_err(|error| vec![no_base64(&error)])?;
        let mut stdout = std::io::stdout();
        let written = stdout.write_all(&value).and_then(|()| stdout.flush());
        written.map_err(|error| {
            let message = format!("the value cannot be written: {error}");
            vec![Diagnostic::new("output-failed", message).machine()]
        })
    }

    async fn export(&mut self) -> Result<(), Vec<Diagnostic>> {
        let mut cursor = None;
        loop {
            let page = self.ask(Request::List { cursor }).await?;
            let mut keys = page.keys;
            while !keys.is_empty() {
                let answer = self.ask(Request::Export { keys: keys.clone() }).await?;
                let lines = answer.pairs.iter().map(|pair| json!(pair).to_string() + "\n");
                print(&lines.collect::<String>())?;
                keys.drain(..answer.answered.clamp(1, keys.len()));
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn import(&mut self) -> Result<(), Vec<Diagnostic>> {
        let (mut pairs, mut size) = (Vec::new(), 0);
        for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
            let line = line.map_err(|error| vec![unread(&error)])?;
            if line.trim().is_empty() {
                continue;
            }
            let pair: Pair =
                serde_json::from_str(&line).map_err(|error| wrong_line(number, &error.to_string()))?;
            pair.bytes()
                .map_err(|error| wrong_line(number, &no_base64(&error).message))?;
            size += pair.value.len();
            pairs.push(pair);
            if size >= IMPORT || pairs.len() == MAX_BATCH {
                size = 0;
                let pairs = std::mem::take(&mut pairs);
                self.ask(Request::Set { pairs }).await?;
            }
        }
        self.ask(Request::Set { pairs }).await.map(drop)
    }
}

fn read_value() -> Result<Vec<u8>, Vec<Diagnostic>> {
    let mut value = Vec::new();
    // One byte more than is taken, so that it is refused rather than cut.
    let most = keyvalue::MAX_VALUE as u64 + 1;
    let read = std::io::stdin().lock().take(most).read_to_end(&mut value);
    read.map(|_| value).map_err(|error| vec![unread(&error)])
}

/// On one line, whatever is in it.
fn shown(key: &str) -> String {
    let show = |c: char| match c.is_control() || c == '\\' {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    key.chars().map(show).collect()
}

fn wrong_line(number: u64, reason: &str) -> Vec<Diagnostic> {
    let message = format!("line {number} of standard input is no key with its value: {reason}");
    let help = "each line is {\"key\": \"…\", \"value\": \"…\"}, the value in base64; the lines before it may be set";
    vec![Diagnostic::new("import-line", message).help(help)]
}

fn no_base64(reason: &str) -> Diagnostic {
    Diagnostic::new("value-encoding", format!("the value is no base64: {reason}"))
}

fn unread(error: &std::io::Error) -> Diagnostic {
    Diagnostic::new("input-failed", format!("standard input cannot be read: {error}")).machine()
}
