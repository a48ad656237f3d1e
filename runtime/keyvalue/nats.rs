//! One group's keys and values in a bucket of NATS JetStream. What is compared with what is there is swapped by the
//! revision of its key; what is deleted leaves nothing.

use std::future::Future;

use async_nats::{
    Client, HeaderMap, ServerAddr,
    connection::State,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        kv::{Store, UpdateErrorKind},
        stream::LastRawMessageErrorKind,
    },
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::iter};
use percent_encoding::percent_decode_str;
use tokio::sync::OnceCell;

use super::{
    Change, Cursor, Error, MAX_BATCH_SIZE, Outcome, PAGE, Page, Result, batch_too_large, refused, sum,
};
use crate::{
    bucket::{self, PATIENCE},
    diagnostic::with_causes,
};

/// Messages of a batch that are under way at once.
const AT_ONCE: usize = 16;
/// How often a swap begins anew because others were faster: each time, one of them got through.
const TRIES: usize = 1000;
/// What NATS says of the bucket.
const ABOUT: &str = "keys and values of a group of wasmhost";
/// Bytes that NATS counts as a message's beside its value.
const HEADERS: usize = 128;

pub struct Nats {
    address: Address,
    bucket: String,
    connected: OnceCell<Connected>,
}

struct Connected {
    client: Client,
    store: Store,
}

/// `nats://USER:PASSWORD@HOST:PORT,HOST:PORT`, or with a token in place of user and password.
struct Address {
    servers: Vec<ServerAddr>,
    is_tls: bool,
    login: Option<Login>,
    /// Without the password.
    shown: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    Password(String, String),
    Token(String),
}

impl Nats {
    /// It connects when something is first asked of it. Errors: the URL is none of a NATS; without its text.
    pub fn new(group: &str, url: &str) -> std::result::Result<Self, String> {
        Ok(Self {
            address: Address::parse(url)?,
            bucket: format!("wasmhost_{group}"),
            connected: OnceCell::new(),
        })
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let get = async { self.revision(self.connected().await?, key).await };
        Ok(self.within(get).await?.1)
    }

    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>> {
        self.within(async {
            let connected = self.connected().await?;
            let value = |key: String| async move { self.revision(connected, &key).await };
            let values = iter(keys.to_vec()).map(value);
            let (mut all, mut size) = (Vec::new(), 0);
            let mut values = values.buffered(AT_ONCE);
            while let Some((_, value)) = values.try_next().await? {
                size += value.as_ref().map_or(0, Bytes::len);
                if size > MAX_BATCH_SIZE {
                    return Err(batch_too_large());
                }
                all.push(value);
            }
            Ok(all)
        })
        .await
    }

    /// The keys that were written after `at`, a revision of the bucket.
    pub async fn keys(&self, at: u64) -> Result<Page> {
        self.within(self.page(at)).await
    }

    async fn page(&self, at: u64) -> Result<Page> {
        let store = &self.connected().await?.store;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: at.saturating_add(1),
            },
            ack_policy: AckPolicy::None,
            filter_subject: format!("{}>", store.prefix),
            headers_only: true,
            memory_storage: true,
            inactive_threshold: PATIENCE,
            ..pull::Config::default()
        };
        let failed = |error: &dyn std::error::Error| self.failed(&with_causes(error));
        let consumer = store.stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| failed(&error))?;
        let there = consumer.fetch().max_messages(PAGE).messages().await;
        let mut there = there.map_err(|error| failed(&error))?;
        let (mut keys, mut next) = (Vec::new(), None);
        while let Some(message) = there.next().await {
            let message = message.map_err(|error| self.failed(&error.to_string()))?;
            let info = message.info().map_err(|error| self.failed(&error.to_string()))?;
            next = (info.pending > 0).then_some(Cursor::Scan(info.stream_sequence));
            let is_there = message.headers.as_ref().is_none_or(is_value);
            let key = message
                .subject
                .strip_prefix(store.prefix.as_str())
                .and_then(decoded);
            keys.extend(key.filter(|_| is_there));
        }
        // It is gone by itself soon; who lists much would have many.
        let name = &consumer.cached_info().name;
        if let Err(error) = store.stream.delete_consumer(name).await {
            tracing::debug!(%error, "a list's consumer is left to NATS");
        }
        Ok(Page { keys, next })
    }

    /// A batch is as many changes as it has keys, none of which waits for another.
    pub async fn change(&self, change: Change) -> Result<Outcome> {
        self.within(async {
            let connected = self.connected().await?;
            match change {
                Change::Set(entries) => {
                    for (_, value) in &entries {
                        self.check_size(connected, value)?;
                    }
                    let put = |(key, value)| self.put(connected, key, value);
                    let all = iter(entries).map(Ok).try_for_each_concurrent(AT_ONCE, put);
                    all.await.map(|()| Outcome::Done)
                }
                Change::Delete(keys) => {
                    let delete = |key| self.delete(connected, key);
                    let all = iter(keys).map(Ok).try_for_each_concurrent(AT_ONCE, delete);
                    all.await.map(|()| Outcome::Done)
                }
                Change::Increment(key, delta) => {
                    let add = |now: Option<Bytes>| {
                        let sum = sum(now.as_deref(), delta)?;
                        Ok(Step::Write(sum.to_string().into(), Outcome::Sum(sum)))
                    };
                    self.replace(connected, &key, add).await
                }
                Change::Swap { key, expected, value } => {
                    let swap = |now| match now == expected {
                        true => Ok(Step::Write(value.clone(), Outcome::Done)),
                        false => Ok(Step::Leave(Outcome::Differs(now))),
                    };
                    self.replace(connected, &key, swap).await
                }
            }
        })
        .await
    }

    async fn put(&self, Connected { store, .. }: &Connected, key: String, value: Bytes) -> Result<()> {
        let put = store.put(encoded(&key), value).await;
        put.map(drop).map_err(|error| self.failed(&with_causes(&error)))
    }

    /// Away with the message itself: a bucket's own way of deleting leaves a mark of each key for good.
    async fn delete(&self, Connected { store, .. }: &Connected, key: String) -> Result<()> {
        let purged = store.stream.purge().filter(subject(store, &key)).await;
        purged
            .map(drop)
            .map_err(|error| self.failed(&with_causes(&error)))
    }

    /// Writes what follows from the value, unless it has changed meanwhile: then again.
    async fn replace(
        &self,
        connected: &Connected,
        key: &str,
        step: impl Fn(Option<Bytes>) -> Result<Step>,
    ) -> Result<Outcome> {
        for _ in 0..TRIES {
            let (revision, now) = self.revision(connected, key).await?;
            let (value, outcome) = match step(now)? {
                Step::Write(value, outcome) => (value, outcome),
                Step::Leave(outcome) => return Ok(outcome),
            };
            self.check_size(connected, &value)?;
            match connected.store.update(encoded(key), value, revision).await {
                Ok(_) => return Ok(outcome),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(self.failed(&with_causes(&error))),
            }
        }
        let why = format!("{TRIES} times, others changed a key of {} first", self.bucket);
        Err(self.failed(&why))
    }

    /// The revision of a key, 0 where there is none, and its value. The stream's leader is asked: the bucket's own way
    /// of reading asks whoever is near, who may be behind.
    async fn revision(&self, Connected { store, .. }: &Connected, key: &str) -> Result<(u64, Option<Bytes>)> {
        let subject = subject(store, key);
        match store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let is_there = is_value(&message.headers);
                Ok((message.sequence, is_there.then_some(message.payload)))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, None)),
            Err(error) => Err(self.failed(&with_causes(&error))),
        }
    }

    fn check_size(&self, Connected { client, .. }: &Connected, value: &Bytes) -> Result<()> {
        let most = client.server_info().max_payload.saturating_sub(HEADERS);
        if value.len() > most {
            return Err(refused(format!(
                "a value has at most {most} bytes in this NATS, not {}",
                value.len()
            )));
        }
        Ok(())
    }

    async fn connected(&self) -> Result<&Connected> {
        let connected = self.connected.get_or_try_init(|| self.connect()).await?;
        // It comes back by itself; whoever asked it now would wait for it with a guest.
        if connected.client.connection_state() == State::Disconnected {
            return Err(self.failed("it is not reached any more"));
        }
        Ok(connected)
    }

    async fn connect(&self) -> Result<Connected> {
        let Address {
            servers,
            is_tls,
            login,
            ..
        } = &self.address;
        let options = bucket::options(servers.len(), *is_tls);
        let options = match login.clone() {
            Some(Login::Password(user, password)) => options.user_and_password(user, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        let client = options.connect(servers).await;
        let client = client.map_err(|error| self.failed(&with_causes(&error)))?;
        let store = self.bucket(&client).await?;
        Ok(Connected { client, store })
    }

    /// The group's bucket, which is made where there is none.
    async fn bucket(&self, client: &Client) -> Result<Store> {
        let context = jetstream::new(client.clone());
        let opened = bucket::open(&context, &self.bucket, ABOUT, -1).await;
        let store = opened.map_err(|why| self.failed(&why))?;
        if store.stream.cached_info().config.max_messages_per_subject != 1 {
            let why = format!(
                "the bucket {} keeps older values too: make it with a history of 1",
                self.bucket
            );
            return Err(self.failed(&why));
        }
        Ok(store)
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| Err(self.failed("no answer in time")))
    }

    fn failed(&self, why: &str) -> Error {
        let Address { shown, .. } = &self.address;
        Error::Failed(format!(
            "{shown}: {why}; look whether NATS runs there with JetStream, and lets wasmhost use the bucket {}",
            self.bucket
        ))
    }
}

/// What is to be done of a key.
enum Step {
    Write(Bytes, Outcome),
    Leave(Outcome),
}

impl Address {
    fn parse(url: &str) -> std::result::Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err("the URL does not begin with nats:// or tls://".into()),
        };
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::read(login)), hosts),
            None => (None, rest),
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let server = |host: &str| {
            let is_host = !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
            let server = format!("{scheme}://{host}").parse::<ServerAddr>();
            let server = server.ok().filter(|_| is_host);
            server.ok_or_else(|| "what follows its scheme is no HOST:PORT".to_owned())
        };
        Ok(Self {
            servers: hosts
                .split(',')
                .map(server)
                .collect::<std::result::Result<_, _>>()?,
            is_tls,
            login,
            shown: format!("{scheme}://{hosts}"),
        })
    }
}

impl Login {
    fn read(text: &str) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match text.split_once(':') {
            Some((user, password)) => Self::Password(decoded(user), decoded(password)),
            None => Self::Token(decoded(text)),
        }
    }
}

fn subject(store: &Store, key: &str) -> String {
    format!("{}{}", store.prefix, encoded(key))
}

/// What others deleted in a bucket's own way has left a mark that says so.
fn is_value(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_none()
}

/// The key as NATS takes one: what it does not is written as `=` and two digits, each byte.
fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => text.push(byte.into()),
            _ => text += &format!("={byte:02X}"),
        }
    }
    text
}

/// `None` for what this host would not have written.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let key = String::from_utf8(bytes).ok()?;
    (encoded(&key) == text).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_readable_and_comes_back_as_it_was() {
        for (key, expected) in [
            ("cart/1-a_B", "cart/1-a_B"),
            ("a.b", "a=2Eb"),
            (">", "=3E"),
            ("=41", "=3D41"),
            ("é\n", "=C3=A9=0A"),
        ] {
            assert_eq!(encoded(key), expected);
            assert_eq!(decoded(expected).as_deref(), Some(key));
        }
        for foreign in ["a.b", "=4", "=XX", "=41", "=2e", "=FF"] {
            assert_eq!(decoded(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_address_names_servers_and_shows_no_password() {
        let address = Address::parse("nats://ann:s%40cret@a:4222,b/").unwrap();
        assert_eq!(address.shown, "nats://a:4222,b");
        assert_eq!(address.servers.len(), 2);
        assert_eq!(
            address.login,
            Some(Login::Password("ann".into(), "s@cret".into()))
        );
        assert!(Address::parse("tls://token@a").unwrap().is_tls);
        for wrong in [
            "",
            "a:4222",
            "nats:/a",
            "nats://",
            "nats://a/site",
            "nats://a:port",
            "nats://a,,b",
            "http://a",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
