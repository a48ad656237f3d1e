//! A fleet's keys in a bucket of NATS JetStream: read, written, compared and swapped, followed. Decides nothing.
//!
//! ```text
//! bucket wasmhost-NAME    fleet.record    what is decided
//!                         fleet.lead      who decides
//!                         node.ID         what each node says of itself
//! ```

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event, ServerAddr,
    connection::State,
    jetstream::{
        self,
        kv::{Entry, Operation, Store, UpdateErrorKind},
        message::StreamMessage,
        stream::LastRawMessageErrorKind,
    },
};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::{
    sync::{OnceCell, mpsc},
    time::{sleep, timeout},
};

use super::{
    address::{FleetAddress, Login},
    node::{Input, Wrote},
    record::{NodeState, Record},
};
use crate::{
    bucket::{self, PATIENCE},
    diagnostic::{Diagnostic, with_causes},
};

pub const RECORD: &str = "fleet.record";
pub const LEAD: &str = "fleet.lead";
const FLEET: &str = "fleet.>";
const NODE: &str = "node.";
const NODES: &str = "node.>";

/// Before what ended is followed again.
const PAUSE: Duration = Duration::from_millis(200);
const MOST_BYTES: i32 = 512 << 10;

pub struct Nats {
    client: Client,
    store: OnceCell<Store>,
    address: FleetAddress,
}

/// A node as it is in the bucket.
pub struct Known {
    pub id: String,
    pub state: NodeState,
    /// How long ago it gave a sign of life, by NATS' clock and ours.
    pub silent: Duration,
}

impl Nats {
    /// Errors: who we are is not believed, or, unless it may come `later`, nobody is there.
    pub async fn connect(
        address: &FleetAddress,
        credentials: Option<&Path>,
        later: bool,
    ) -> Result<Self, Diagnostic> {
        let servers = servers(address)?;
        let first = options(address, credentials, false).await?;
        let client = match timeout(PATIENCE, first.connect(&servers)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) if is_refusal(&error) => return Err(unauthorized(address, &error)),
            failed if !later => {
                let why = failed.map_or_else(
                    |_| "no answer".into(),
                    |failed| failed.map_or_else(|e| with_causes(&e), |_| String::new()),
                );
                return Err(unreachable(address, &why));
            }
            _ => {
                let again = options(address, credentials, true).await?;
                let client = again.connect(&servers).await;
                client.map_err(|error| unreachable(address, &with_causes(&error)))?
            }
        };
        let (store, address) = (OnceCell::new(), address.clone());
        Ok(Self {
            client,
            store,
            address,
        })
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The bucket, which is made where there is none.
    async fn store(&self) -> Result<&Store, Diagnostic> {
        let make = || async {
            let context = jetstream::new(self.client.clone());
            let bucket = format!("wasmhost-{}", self.address.name);
            let opened = bucket::open(&context, &bucket, "a fleet of wasmhost", MOST_BYTES).await;
            opened.map_err(|why| self.failed(&why))
        };
        let stored = timeout(PATIENCE, self.store.get_or_try_init(make)).await;
        stored.unwrap_or_else(|_| Err(self.failed("no answer")))
    }

    /// What is decided, and its revision.
    pub async fn record(&self) -> Result<Option<(u64, Record)>, Diagnostic> {
        let Some(message) = self.message(RECORD).await?.filter(is_put) else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&message.payload).map_err(|error| {
            let message = format!(
                "what the fleet {} has decided cannot be understood: {error}",
                self.address
            );
            Diagnostic::new("fleet-record", message).help("give all of the fleet the same wasmhost")
        })?;
        Ok(Some((message.sequence, record)))
    }

    /// Who leads, and the revision of that; empty and 0 where nobody does.
    pub async fn lead(&self) -> Result<(u64, String), Diagnostic> {
        let message = self.message(LEAD).await?;
        Ok(message.map_or((0, String::new()), |message| {
            lead(message.sequence, is_put(&message), &message.payload)
        }))
    }

    /// The last that was written of a key, or of its deletion. The stream's leader is asked: others may be behind.
    async fn message(&self, key: &str) -> Result<Option<StreamMessage>, Diagnostic> {
        let store = self.store().await?;
        let subject = format!("{}{key}", store.prefix);
        match store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.failed(&with_causes(&error))),
        }
    }

    /// All nodes that were heard of lately.
    pub async fn nodes(&self) -> Result<Vec<Known>, Diagnostic> {
        let mut nodes = Vec::new();
        for key in self.keys().await? {
            let Some(id) = key.strip_prefix(NODE) else {
                continue;
            };
            let Some(message) = self.message(&key).await?.filter(is_put) else {
                continue;
            };
            let Ok(state) = serde_json::from_slice(&message.payload) else {
                continue;
            };
            let now = jiff::Timestamp::now().as_nanosecond();
            let then = message.time.unix_timestamp_nanos();
            let silent = u64::try_from(now - then).unwrap_or(0);
            nodes.push(Known {
                id: id.to_owned(),
                state,
                silent: Duration::from_nanos(silent),
            });
        }
        Ok(nodes)
    }

    async fn keys(&self) -> Result<Vec<String>, Diagnostic> {
        let store = self.store().await?;
        let all = async {
            store
                .keys()
                .await
                .map_err(|error| with_causes(&error))?
                .try_collect()
                .await
                .map_err(|error| with_causes(&error))
        };
        // The list ends when NATS says that nothing is left, which a key that changes meanwhile may delay.
        let listed = timeout(PATIENCE, all)
            .await
            .unwrap_or_else(|_| Err("no answer".into()));
        listed.map_err(|why| self.failed(&why))
    }

    pub async fn write_state(&self, id: &str, state: &NodeState) -> Wrote {
        let Ok(store) = self.store().await.inspect_err(unwritten) else {
            return Wrote::Lost;
        };
        match timeout(PATIENCE, store.put(format!("{NODE}{id}"), json(state).into())).await {
            Ok(Ok(revision)) => Wrote::Done(revision),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the fleet is not told that this node lives");
                Wrote::Lost
            }
            Err(_) => Wrote::Lost,
        }
    }

    /// Compare and swap; revision 0 is that of a key that never was.
    pub async fn swap(&self, key: &str, value: &impl Serialize, revision: u64) -> Wrote {
        let Ok(store) = self.store().await.inspect_err(unwritten) else {
            return Wrote::Lost;
        };
        match timeout(PATIENCE, store.update(key, json(value).into(), revision)).await {
            Ok(Ok(revision)) => Wrote::Done(revision),
            Ok(Err(error)) if error.kind() == UpdateErrorKind::WrongLastRevision => Wrote::Conflict,
            Ok(Err(error)) => {
                tracing::debug!(%error, key, "not written");
                Wrote::Lost
            }
            Err(_) => Wrote::Lost,
        }
    }

    /// This node is gone, by its own will.
    pub async fn leave(&self, id: &str, leads: bool) {
        let Ok(store) = self.store().await else { return };
        let gone = async {
            let _ = store.purge(format!("{NODE}{id}")).await;
            if leads {
                let _ = store.delete(LEAD).await;
            }
            let _ = self.client.flush().await;
        };
        // Who cannot be told will notice.
        let _ = timeout(Duration::from_secs(1), gone).await;
    }

    /// Tells what is decided and who leads, as it changes, until nobody listens. Anew where nothing comes for so long as
    /// `quiet`: whoever sends it may be gone, and nobody says so.
    pub async fn follow(&self, quiet: Duration, inputs: mpsc::Sender<Input>) {
        self.watch(FLEET, quiet, inputs, |entry, _| match entry.key.as_str() {
            RECORD => vec![record_input(entry)],
            LEAD => {
                let is_put = entry.operation == Operation::Put;
                let (revision, id) = lead(entry.revision, is_put, &entry.value);
                vec![Input::Lead { revision, id }]
            }
            _ => Vec::new(),
        })
        .await;
    }

    /// Tells what the nodes say of themselves, in the same way.
    pub async fn follow_nodes(&self, quiet: Duration, inputs: mpsc::Sender<Input>) {
        self.watch(NODES, quiet, inputs, |entry, is_all| {
            let id = entry.key.trim_start_matches(NODE).to_owned();
            let state =
                (entry.operation == Operation::Put).then(|| serde_json::from_slice(&entry.value).ok());
            let mut told = vec![Input::Peer {
                id,
                state: state.flatten(),
            }];
            told.extend(is_all.then_some(Input::PeersKnown));
            told
        })
        .await;
    }

    async fn watch(
        &self,
        keys: &str,
        quiet: Duration,
        inputs: mpsc::Sender<Input>,
        read: impl Fn(&Entry, bool) -> Vec<Input>,
    ) {
        loop {
            if let Ok(store) = self.store().await
                && let Ok(mut entries) = store.watch_with_history(keys).await
            {
                // What fails is followed anew: then all that is there is told again.
                while let Ok(Some(Ok(entry))) = timeout(quiet, entries.next()).await {
                    for input in read(&entry, entry.seen_current) {
                        if inputs.send(input).await.is_err() {
                            return;
                        }
                    }
                }
            }
            if inputs.is_closed() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    pub fn failed(&self, why: &str) -> Diagnostic {
        let message = format!("the fleet {} cannot be asked: {why}", self.address);
        let help = "look whether NATS runs there with JetStream, and whether this user may use the bucket's subjects";
        Diagnostic::new("fleet-failed", message).machine().help(help)
    }
}

fn record_input(entry: &Entry) -> Input {
    let record = (entry.operation == Operation::Put).then(|| serde_json::from_slice(&entry.value).ok());
    Input::Record {
        revision: entry.revision,
        record: record.flatten(),
    }
}

fn lead(revision: u64, is_put: bool, value: &[u8]) -> (u64, String) {
    let id = match is_put {
        true => serde_json::from_slice(value).unwrap_or_default(),
        false => String::new(),
    };
    (revision, id)
}

/// It is a value, and not the mark that one was deleted.
fn is_put(message: &StreamMessage) -> bool {
    message.headers.get("KV-Operation").is_none()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Keys are texts, which always can be written.
    serde_json::to_vec(value).unwrap_or_default()
}

fn unwritten(reason: &Diagnostic) {
    tracing::debug!("{reason}");
}

fn servers(address: &FleetAddress) -> Result<Vec<ServerAddr>, Diagnostic> {
    let scheme = if address.is_tls { "tls" } else { "nats" };
    let servers = address.servers.iter().map(|server| {
        format!("{scheme}://{server}")
            .parse::<ServerAddr>()
            .map_err(|error| {
                let message = format!("{server:?} is no address of a NATS server: {error}");
                Diagnostic::new("fleet-address", message)
            })
    });
    servers.collect()
}

async fn options(
    address: &FleetAddress,
    credentials: Option<&Path>,
    later: bool,
) -> Result<ConnectOptions, Diagnostic> {
    let name = address.to_string();
    let was_lost = Arc::new(AtomicBool::new(false));
    let told = move |event| {
        let (name, was_lost) = (name.clone(), was_lost.clone());
        async move {
            match event {
                Event::Connected if was_lost.swap(false, Ordering::Relaxed) => {
                    tracing::info!("{name} is reached again");
                }
                Event::Disconnected => {
                    was_lost.store(true, Ordering::Relaxed);
                    tracing::warn!("{name} is not reached any more");
                }
                Event::ServerError(_) | Event::ClientError(_) => tracing::warn!("{name}: {event}"),
                _ => {}
            }
        }
    };
    let options = bucket::options(address.servers.len(), address.is_tls).event_callback(told);
    let options = if later {
        options.retry_on_initial_connect()
    } else {
        options
    };
    let options = match address.login.clone() {
        Some(Login::Password { user, password }) => options.user_and_password(user, password),
        Some(Login::Token(token)) => options.token(token),
        None => options,
    };
    let Some(file) = credentials else {
        return Ok(options);
    };
    let read = options.credentials_file(file).await;
    read.map_err(|error| Diagnostic::io("fleet-credentials", "read the credentials in", file, &error))
}

fn is_refusal(error: &async_nats::ConnectError) -> bool {
    use async_nats::ConnectErrorKind as Kind;
    matches!(error.kind(), Kind::Authentication | Kind::AuthorizationViolation)
}

fn unauthorized(address: &FleetAddress, error: &async_nats::ConnectError) -> Diagnostic {
    let message = format!("{address} does not let us in: {}", with_causes(error));
    let help = "write user and password before the host, nats://USER:PASSWORD@HOST:PORT/NAME, in the variable \
                WASMHOST_FLEET, or name a file with --fleet-credentials";
    Diagnostic::new("fleet-unauthorized", message).help(help)
}

fn unreachable(address: &FleetAddress, why: &str) -> Diagnostic {
    let message = format!("the fleet {address} is not reached: {why}");
    Diagnostic::new("fleet-unreachable", message).machine()
}
