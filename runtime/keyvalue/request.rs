//! What an operator asks of a group's space, as JSON: over the admin socket, or of the file itself.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Change, MAX_BATCH, MAX_BATCH_SIZE, Result, Space, refused};

/// Bytes of values that one page of pairs has, about.
const PAGE_SIZE: usize = 4 << 20;
/// Keys whose values are read at once for a page.
const AT_ONCE: usize = MAX_BATCH_SIZE / super::MAX_VALUE;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A page of keys, from where another ended.
    List {
        cursor: Option<String>,
    },
    Get {
        key: String,
    },
    Set {
        pairs: Vec<Pair>,
    },
    Delete {
        key: String,
    },
    /// The pairs of these keys, as many as fit; those that are not there are left out.
    Export {
        keys: Vec<String>,
    },
}

/// A key with its value in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub keys: Vec<String>,
    pub cursor: Option<String>,
    pub pairs: Vec<Pair>,
    /// Of the keys that were asked for, how many this answers.
    pub answered: usize,
}

impl Pair {
    pub fn new(key: String, value: &[u8]) -> Self {
        let value = STANDARD.encode(value);
        Self { key, value }
    }

    /// Errors: it is no base64.
    pub fn bytes(&self) -> std::result::Result<Bytes, String> {
        let decoded = STANDARD.decode(&self.value);
        decoded.map(Bytes::from).map_err(|error| error.to_string())
    }
}

impl Space {
    pub async fn answer(&self, request: Request) -> Result<Answer> {
        let mut answer = Answer::default();
        match request {
            Request::List { cursor } => {
                let cursor = cursor.map(|cursor| self.written(cursor)).transpose()?;
                let page = self.keys(cursor).await?;
                answer.keys = page.keys;
                answer.cursor = page.next.map(super::Cursor::text);
            }
            Request::Get { key } => {
                let value = self.get(&key).await?;
                answer.pairs.extend(value.map(|value| Pair::new(key, &value)));
            }
            Request::Set { pairs } => {
                let pairs: Vec<_> = pairs.into_iter().map(decoded).collect::<Result<_>>()?;
                self.change(Change::Set(pairs)).await?;
            }
            Request::Delete { key } => {
                self.change(Change::Delete(vec![key])).await?;
            }
            Request::Export { keys } => self.export(keys, &mut answer).await?,
        }
        Ok(answer)
    }

    async fn export(&self, keys: Vec<String>, answer: &mut Answer) -> Result<()> {
        if keys.len() > MAX_BATCH {
            return Err(super::batch_too_large());
        }
        let mut size = 0;
        for keys in keys.chunks(AT_ONCE) {
            if size >= PAGE_SIZE {
                return Ok(());
            }
            for (key, value) in self.get_many(keys.to_vec()).await? {
                answer.answered += 1;
                let Some(value) = value else { continue };
                size += value.len();
                answer.pairs.push(Pair::new(key, &value));
            }
        }
        Ok(())
    }
}

fn decoded(pair: Pair) -> Result<(String, Bytes)> {
    let value = pair.bytes();
    let value =
        value.map_err(|error| refused(format!("the value of {:?} is no base64: {error}", pair.key)))?;
    Ok((pair.key, value))
}
