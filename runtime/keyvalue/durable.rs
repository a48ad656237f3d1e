//! One group's keys and values in the file of the state directory.

use std::sync::Arc;

use bytes::Bytes;

use super::{Change, Outcome, Page, Result, file::Wanted, writer::Writer};

pub struct Durable {
    writer: Writer,
    group: Arc<str>,
    /// Bytes of its keys and values.
    limit: u64,
}

impl Durable {
    pub fn new(writer: Writer, group: Arc<str>, limit: u64) -> Self {
        Self { writer, group, limit }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let cache = &self.writer.shared.cache;
        match cache.get(&self.group, key) {
            Some(value) => Ok(value),
            None => cache.get_or_read(&self.group, key, self.read(key)).await,
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Bytes>> {
        let values = self.read_many(vec![key.to_owned()]).await?;
        Ok(values.into_iter().next().flatten())
    }

    async fn read_many(&self, keys: Vec<String>) -> Result<Vec<Option<Bytes>>> {
        let group = self.group.clone();
        self.writer.read(move |file| file.get(&group, &keys)).await?
    }

    /// In one look, so that they are of one moment.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>> {
        self.read_many(keys.to_vec()).await
    }

    pub async fn keys(&self, after: Option<String>) -> Result<Page> {
        let group = self.group.clone();
        let keys = move |file: &super::file::File| file.keys(&group, after.as_deref());
        self.writer.read(keys).await
    }

    pub async fn change(&self, change: Change) -> Result<Outcome> {
        let (group, limit) = (self.group.clone(), self.limit);
        self.writer.change(Wanted { group, limit, change }).await
    }
}
