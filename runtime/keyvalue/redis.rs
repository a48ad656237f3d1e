//! One group's keys and values in a Redis or Valkey: each a key of its own behind the group's prefix.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use redis::{
    Client, RedisError, RedisResult, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{Change, Cursor, Error, MAX_BATCH_SIZE, Outcome, PAGE, Page, Result, batch_too_large, refused};

/// For connecting, and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that are asked for at once, so that a batch that is too large is seen before it is here.
const AT_ONCE: usize = 16;
/// Rounds of a list that find nothing: other keys may lie between.
const ROUNDS: usize = 100;

/// Sets the value where it is as expected: ARGV are whether there is to be one, which, and the new one.
const SWAP: &str = "local now = redis.call('GET', KEYS[1])
if (ARGV[1] == '0' and now == false) or (ARGV[1] == '1' and now == ARGV[2]) then
    redis.call('SET', KEYS[1], ARGV[3])
    return {1}
end
return {0, now}";

pub struct Redis {
    connection: ConnectionManager,
    prefix: String,
    swap: Script,
}

impl Redis {
    /// Errors: the URL is none of a Redis; without its text.
    pub fn new(group: &str, url: &str) -> std::result::Result<Self, String> {
        let client = Client::open(url).map_err(|error| error.to_string())?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection =
            ConnectionManager::new_lazy_with_config(client, config).map_err(|error| error.to_string())?;
        Ok(Self {
            connection,
            prefix: format!("wasmhost:{group}:"),
            swap: Script::new(SWAP),
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let value: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(self.key(key))).await?;
        Ok(value.map(Bytes::from))
    }

    pub async fn exists(&self, key: &str) -> Result<bool> {
        self.ask(redis::cmd("EXISTS").arg(self.key(key))).await
    }

    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>> {
        let (mut values, mut size) = (Vec::new(), 0);
        for keys in keys.chunks(AT_ONCE) {
            let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
            let some: Vec<Option<Vec<u8>>> = self.ask(redis::cmd("MGET").arg(keys)).await?;
            size += some.iter().flatten().map(Vec::len).sum::<usize>();
            if size > MAX_BATCH_SIZE {
                return Err(batch_too_large());
            }
            values.extend(some.into_iter().map(|value| value.map(Bytes::from)));
        }
        Ok(values)
    }

    pub async fn keys(&self, mut at: u64) -> Result<Page> {
        let pattern = format!("{}*", escaped(&self.prefix));
        for _ in 0..ROUNDS {
            let mut scan = redis::cmd("SCAN");
            scan.arg(at).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE / 2);
            let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            at = next;
            // What others put there may be no text; it is not this host's.
            let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
            let keys = keys.filter_map(|key| Some(key.strip_prefix(&self.prefix)?.to_owned()));
            let keys: Vec<_> = keys.take(PAGE).collect();
            if !keys.is_empty() || at == 0 {
                let next = (at != 0).then_some(Cursor::Scan(at));
                return Ok(Page { keys, next });
            }
        }
        Ok(Page {
            keys: Vec::new(),
            next: Some(Cursor::Scan(at)),
        })
    }

    pub async fn change(&self, change: Change) -> Result<Outcome> {
        match change {
            Change::Set(entries) if entries.is_empty() => Ok(Outcome::Done),
            Change::Delete(keys) if keys.is_empty() => Ok(Outcome::Done),
            Change::Set(entries) => {
                let mut set = redis::cmd("MSET");
                for (key, value) in &entries {
                    set.arg(self.key(key)).arg(&value[..]);
                }
                self.ask::<()>(&set).await.map(|()| Outcome::Done)
            }
            Change::Delete(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
                let deleted = self.ask::<u64>(redis::cmd("DEL").arg(keys)).await;
                deleted.map(|_| Outcome::Done)
            }
            Change::Increment(key, delta) => {
                let sum = self
                    .ask(redis::cmd("INCRBY").arg(self.key(&key)).arg(delta))
                    .await;
                sum.map(Outcome::Sum)
            }
            Change::Swap { key, expected, value } => self.swap(&key, expected.as_deref(), &value).await,
        }
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<Outcome> {
        let mut connection = self.connection.clone();
        let mut swap = self.swap.prepare_invoke();
        swap.key(self.key(key))
            .arg(u8::from(expected.is_some()))
            .arg(expected.unwrap_or_default())
            .arg(value);
        let answer = within(swap.invoke_async(&mut connection)).await?;
        let (is_swapped, now): (u8, Option<Vec<u8>>) = match answer {
            redis::Value::Array(parts) => match parts.as_slice() {
                [_] => (1, None),
                [_, now] => (
                    0,
                    redis::from_redis_value(now.clone()).map_err(|error| failed(&error))?,
                ),
                _ => return Err(failed(&"an answer of another shape")),
            },
            _ => return Err(failed(&"an answer of another shape")),
        };
        Ok(match is_swapped {
            1 => Outcome::Done,
            _ => Outcome::Differs(now.map(Bytes::from)),
        })
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        let mut connection = self.connection.clone();
        within(command.query_async(&mut connection)).await
    }
}

/// The library bounds each try; this bounds all of them.
async fn within<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| told(&error)),
        Err(_) => Err(failed(&"no answer in time")),
    }
}

/// What the guest did wrong, or what the Redis did.
fn told(error: &RedisError) -> Error {
    match error.detail() {
        Some(detail) if detail.contains("not an integer") || detail.contains("overflow") => {
            refused("the value or the sum is no number of 64 bits in decimal digits")
        }
        _ => failed(error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("Redis: {error}"))
}

/// As a pattern that matches this text alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
