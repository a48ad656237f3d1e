//! Keys and values that outlive generations and restarts: one space per group, in a file of the state
//! directory, in a Redis or in a NATS. Knows neither guests nor WIT.

mod cache;
mod cursors;
mod durable;
mod file;
mod nats;
mod redis;
mod request;
mod writer;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::diagnostic::Diagnostic;

pub use self::request::{Answer, Pair, Request};
// By itself: the crate has the same name.
use self::redis::Redis;
use self::{cursors::Cursors, durable::Durable, nats::Nats, writer::Writer};

/// The name of the file in a state directory.
pub const FILE: &str = "keyvalue.redb";
/// Bytes of a key.
pub const MAX_KEY: usize = 1 << 10;
/// Bytes of a value.
pub const MAX_VALUE: usize = 1 << 20;
/// Keys of one page of a list.
pub const PAGE: usize = 1000;
/// Keys that one batch names.
pub const MAX_BATCH: usize = 1000;
/// Bytes of the keys and values that one batch brings or takes.
pub const MAX_BATCH_SIZE: usize = 16 << 20;

/// A change that happens as a whole or not at all; in a NATS, key by key.
#[derive(Clone, Debug)]
pub enum Change {
    Set(Vec<(String, Bytes)>),
    Delete(Vec<String>),
    /// The value is a number in decimal digits; what is not there counts as 0. Its outcome is the sum.
    Increment(String, i64),
    /// Sets the value if it still is `expected`. Its outcome is the value that it is instead, if any.
    Swap {
        key: String,
        expected: Option<Bytes>,
        value: Bytes,
    },
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Sum(i64),
    /// Not swapped: this is the value.
    Differs(Option<Bytes>),
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Behind this key, in the order of bytes.
    After(String),
    /// Where Redis says, or the last revision that NATS told of.
    Scan(u64),
}

/// Some of the keys, and where there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub keys: Vec<String>,
    pub next: Option<Cursor>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was asked cannot be. The text is for who asked.
    #[error("{0}")]
    Refused(String),
    /// The store failed. The text is for the log.
    #[error("{0}")]
    Failed(String),
}

type Result<T> = std::result::Result<T, Error>;

/// The spaces of all groups of a server.
#[derive(Clone)]
pub struct Spaces {
    writer: Writer,
    /// By group. What was opened last is what commands see.
    open: Arc<Mutex<BTreeMap<Arc<str>, Space>>>,
}

/// The keys and values of one group. All of its generations have the same. Cheap to clone.
#[derive(Clone)]
pub struct Space(Arc<Inner>);

struct Inner {
    backing: Backing,
    /// Of the Redis or NATS, if it is one.
    url: Option<String>,
    cursors: Cursors,
}

enum Backing {
    Durable(Durable),
    Redis(Redis),
    Nats(Box<Nats>),
}

impl Spaces {
    /// In `file`, which is made when something is first asked of it.
    pub fn in_file(file: PathBuf) -> Self {
        Self::new(Some(file))
    }

    /// Gone with the value.
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    fn new(file: Option<PathBuf>) -> Self {
        Self {
            writer: Writer::new(file),
            open: Arc::default(),
        }
    }

    /// The durable space of a group that may hold `limit` bytes.
    pub fn durable(&self, group: &Arc<str>, limit: u64) -> Space {
        // Another limit is another handle on the same space.
        let backing = Backing::Durable(Durable::new(self.writer.clone(), group.clone(), limit));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let cursors = match open.get(group) {
            Some(Space(inner)) if inner.url.is_none() => inner.cursors.clone(),
            _ => Cursors::default(),
        };
        let space = Space::new(backing, None, cursors);
        open.insert(group.clone(), space.clone());
        space
    }

    /// The space of a group in the Redis or NATS at `url`. It connects when something is first asked of it.
    /// Errors: the URL is of neither; without its text, which may hold a password.
    pub fn remote(&self, group: &Arc<str>, url: &str) -> std::result::Result<Space, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The generations of a group share a connection.
        if let Some(space) = open
            .get(group)
            .filter(|space| space.0.url.as_deref() == Some(url))
        {
            return Ok(space.clone());
        }
        let backing = match url.split_once("://") {
            Some(("redis", _)) => Backing::Redis(Redis::new(group, url)?),
            Some(("nats" | "tls", _)) => Backing::Nats(Box::new(Nats::new(group, url)?)),
            _ => return Err("it begins with none of redis://, nats:// and tls://".into()),
        };
        let space = Space::new(backing, Some(url.to_owned()), Cursors::default());
        open.insert(group.clone(), space.clone());
        Ok(space)
    }

    /// Answers what an operator asks of a group: of the space that it has, or of the durable one that it
    /// left, or that is made ready for it. Errors: it has none, and something else than to set is asked.
    pub async fn answer(&self, group: &Arc<str>, request: Request) -> Result<Answer> {
        let open = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(group)
            .cloned();
        if let Some(space) = open {
            return space.answer(request).await;
        }
        if !matches!(request, Request::Set { .. }) {
            let known = self.writer.read(file::File::groups).await?;
            if !known.iter().any(|name| **name == **group) {
                let others = match known.as_slice() {
                    [] => "nor has any other group".to_owned(),
                    known => format!("the state directory has those of: {}", known.join(", ")),
                };
                return Err(refused(format!(
                    "the group {group} has no keys and values; {others}"
                )));
            }
        }
        let backing = Backing::Durable(Durable::new(self.writer.clone(), group.clone(), u64::MAX));
        Space::new(backing, None, Cursors::default())
            .answer(request)
            .await
    }

    /// Commits what is under way and closes the file. Whatever is asked later fails.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}

impl Space {
    fn new(backing: Backing, url: Option<String>, cursors: Cursors) -> Self {
        Self(Arc::new(Inner {
            backing,
            url,
            cursors,
        }))
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        check_key(key)?;
        match &self.0.backing {
            Backing::Durable(durable) => durable.get(key).await,
            Backing::Redis(redis) => redis.get(key).await,
            Backing::Nats(nats) => nats.get(key).await,
        }
    }

    pub async fn exists(&self, key: &str) -> Result<bool> {
        check_key(key)?;
        match &self.0.backing {
            Backing::Durable(durable) => Ok(durable.get(key).await?.is_some()),
            Backing::Redis(redis) => redis.exists(key).await,
            Backing::Nats(nats) => Ok(nats.get(key).await?.is_some()),
        }
    }

    /// The values of `keys`, in their order.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Bytes>)>> {
        check_batch(keys.iter().map(|key| (key.as_str(), 0)))?;
        let values = match &self.0.backing {
            Backing::Durable(durable) => durable.get_many(&keys).await?,
            Backing::Redis(redis) => redis.get_many(&keys).await?,
            Backing::Nats(nats) => nats.get_many(&keys).await?,
        };
        let size: usize = values.iter().flatten().map(Bytes::len).sum();
        if size > MAX_BATCH_SIZE {
            return Err(batch_too_large());
        }
        Ok(keys.into_iter().zip(values).collect())
    }

    /// At most [`PAGE`] keys. The durable space has them in the order of their bytes.
    pub async fn keys(&self, cursor: Option<Cursor>) -> Result<Page> {
        match (&self.0.backing, cursor) {
            (Backing::Durable(durable), None) => durable.keys(None).await,
            (Backing::Durable(durable), Some(Cursor::After(key))) => durable.keys(Some(key)).await,
            (Backing::Redis(redis), None) => redis.keys(0).await,
            (Backing::Redis(redis), Some(Cursor::Scan(at))) => redis.keys(at).await,
            (Backing::Nats(nats), None) => nats.keys(0).await,
            (Backing::Nats(nats), Some(Cursor::Scan(at))) => nats.keys(at).await,
            _ => Err(unknown_cursor()),
        }
    }

    /// Once it is done, it outlives the process and a loss of power, as far as a Redis or NATS promises that.
    pub async fn change(&self, change: Change) -> Result<Outcome> {
        check_change(&change)?;
        match &self.0.backing {
            Backing::Durable(durable) => durable.change(change).await,
            Backing::Redis(redis) => redis.change(change).await,
            Backing::Nats(nats) => nats.change(change).await,
        }
    }

    /// The cursor as a number, for as long as it is one of the newest.
    pub fn number(&self, cursor: Cursor) -> u64 {
        match cursor {
            Cursor::Scan(at) => at,
            Cursor::After(key) => self.0.cursors.keep(key),
        }
    }

    /// The cursor of a number.
    pub fn numbered(&self, number: u64) -> Result<Cursor> {
        match &self.0.backing {
            Backing::Redis(_) | Backing::Nats(_) => Ok(Cursor::Scan(number)),
            Backing::Durable(_) => {
                let key = self.0.cursors.key(number).ok_or_else(unknown_cursor)?;
                Ok(Cursor::After(key))
            }
        }
    }

    /// The cursor of a text.
    pub fn written(&self, text: String) -> Result<Cursor> {
        match &self.0.backing {
            Backing::Redis(_) | Backing::Nats(_) => {
                text.parse().map(Cursor::Scan).map_err(|_| unknown_cursor())
            }
            Backing::Durable(_) => Ok(Cursor::After(text)),
        }
    }
}

impl Cursor {
    /// The cursor as a text.
    pub fn text(self) -> String {
        match self {
            Self::After(key) => key,
            Self::Scan(at) => at.to_string(),
        }
    }
}

/// What an operator is told.
pub fn diagnostic(error: Error) -> Diagnostic {
    match error {
        Error::Refused(text) => Diagnostic::new("keyvalue-refused", text),
        Error::Failed(text) => Diagnostic::new("keyvalue-failed", text).machine(),
    }
}

fn refused(text: impl Into<String>) -> Error {
    Error::Refused(text.into())
}

fn unknown_cursor() -> Error {
    refused("the cursor is not known any more: list from the beginning")
}

fn batch_too_large() -> Error {
    refused(format!(
        "a batch is at most {MAX_BATCH} keys and {MAX_BATCH_SIZE} bytes"
    ))
}

fn check_key(key: &str) -> Result<()> {
    match key.len() {
        1..=MAX_KEY => Ok(()),
        length => Err(refused(format!(
            "a key has from 1 to {MAX_KEY} bytes, not {length}"
        ))),
    }
}

fn check_value(length: usize) -> Result<()> {
    if length > MAX_VALUE {
        return Err(refused(format!(
            "a value has at most {MAX_VALUE} bytes, not {length}"
        )));
    }
    Ok(())
}

/// Of keys and the lengths of their values.
fn check_batch<'a>(entries: impl Iterator<Item = (&'a str, usize)>) -> Result<()> {
    let (mut count, mut size) = (0, 0);
    for (key, length) in entries {
        check_key(key)?;
        check_value(length)?;
        count += 1;
        size += key.len() + length;
    }
    if count > MAX_BATCH || size > MAX_BATCH_SIZE {
        return Err(batch_too_large());
    }
    Ok(())
}

fn check_change(change: &Change) -> Result<()> {
    match change {
        Change::Set(entries) => check_batch(entries.iter().map(|(key, value)| (key.as_str(), value.len()))),
        Change::Delete(keys) => check_batch(keys.iter().map(|key| (key.as_str(), 0))),
        Change::Increment(key, _) => check_key(key),
        Change::Swap { key, value, .. } => check_key(key).and(check_value(value.len())),
    }
}

/// The sum of what is counted and what is added.
fn sum(value: Option<&[u8]>, delta: i64) -> Result<i64> {
    let number = match value {
        None => 0,
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or_else(|| refused("the value is no number of 64 bits in decimal digits"))?,
    };
    number
        .checked_add(delta)
        .ok_or_else(|| refused("the sum is no number of 64 bits"))
}
