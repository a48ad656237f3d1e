//! `wasi:keyvalue`, in the two versions that guests are built for: what wasmtime serves and what Spin does.
//! One bucket, the group's; without a grant it is denied.

mod draft;
mod draft2;
mod store;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::{Host, allowance::Allowance};
use crate::{
    clock,
    diagnostic::Diagnostic,
    keyvalue::{self, Change, Outcome, Space, Spaces},
    project::{self, Grants, Limits},
};

/// The group's bucket, by any of its names: wasmtime's and Spin's for the one that is always there.
const NAMES: [&str; 2] = ["", "default"];

/// What a store's guests have of it.
#[derive(Clone)]
pub struct KeyValue {
    group: Arc<str>,
    /// `None` where it was not granted.
    space: Option<Space>,
    /// How much may be logged.
    output: Arc<Allowance>,
}

impl KeyValue {
    /// Errors: the URL of a Redis or NATS is none.
    pub fn new(
        group: &Arc<str>,
        limits: &Limits,
        grants: &Grants,
        spaces: &Spaces,
        output: &Arc<Allowance>,
    ) -> Result<Self, Diagnostic> {
        let space = match &grants.keyvalue {
            None => None,
            Some(project::KeyValue::Durable) => Some(spaces.durable(group, limits.keyvalue)),
            Some(project::KeyValue::Url(url)) => {
                let space = spaces.remote(group, url.reveal());
                Some(space.map_err(|reason| no_store(group, &reason))?)
            }
        };
        Ok(Self {
            group: group.clone(),
            space,
            output: output.clone(),
        })
    }
}

fn no_store(group: &str, reason: &str) -> Diagnostic {
    let message = format!(
        "the URL that wasmhost.toml grants the group {group} as keyvalue leads to no store: {reason}"
    );
    Diagnostic::new("keyvalue-url", message).help(
        "write one such as redis://127.0.0.1:6379, redis://:PASSWORD@HOST:PORT/1 or \
             nats://USER:PASSWORD@HOST:PORT",
    )
}

/// A bucket that a guest has open.
pub struct Bucket(Space);

/// Why a call fails.
pub enum Fault {
    NoSuchStore,
    AccessDenied,
    Other(String),
    /// The guest is at fault: it is no handle, or there are too many.
    Trap(wasmtime::Error),
}

impl From<wasmtime::component::ResourceTableError> for Fault {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// The host as the interfaces see it.
pub struct View<'a> {
    keyvalue: &'a KeyValue,
    table: &'a mut ResourceTable,
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = View<'a>;
}

impl Host {
    fn keyvalue(&mut self) -> View<'_> {
        View {
            keyvalue: &self.keyvalue,
            table: &mut self.table,
        }
    }
}

/// Errors: none that a user could cause.
pub fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}

impl View<'_> {
    fn open_bucket(&mut self, name: &str) -> Result<Resource<Bucket>, Fault> {
        let Some(space) = &self.keyvalue.space else {
            return Err(Fault::AccessDenied);
        };
        if !NAMES.contains(&name) {
            return Err(Fault::NoSuchStore);
        }
        Ok(self.table.push(Bucket(space.clone()))?)
    }

    fn space(&self, bucket: &Resource<Bucket>) -> Result<Space, Fault> {
        Ok(self.table.get(bucket)?.0.clone())
    }

    /// What the guest is told. Of a fault of the host it learns that there is one; the log has it.
    fn told<T>(&self, result: Result<T, keyvalue::Error>) -> Result<T, Fault> {
        result.map_err(|error| match error {
            keyvalue::Error::Refused(text) => Fault::Other(text),
            keyvalue::Error::Failed(text) => {
                let KeyValue { group, output, .. } = self.keyvalue;
                if output.take(text.len(), clock::now()).is_some() {
                    tracing::error!(%group, error = %text, "a call of wasi:keyvalue failed");
                }
                Fault::Other("the store failed".into())
            }
        })
    }

    async fn get_value(&mut self, bucket: &Resource<Bucket>, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.space(bucket)?.get(key).await;
        Ok(self.told(value)?.map(Vec::from))
    }

    async fn has(&mut self, bucket: &Resource<Bucket>, key: &str) -> Result<bool, Fault> {
        let exists = self.space(bucket)?.exists(key).await;
        self.told(exists)
    }

    async fn change(&mut self, bucket: &Resource<Bucket>, change: Change) -> Result<Outcome, Fault> {
        let outcome = self.space(bucket)?.change(change).await;
        self.told(outcome)
    }

    async fn set_values(
        &mut self,
        bucket: &Resource<Bucket>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Fault> {
        let entries = entries.into_iter().map(|(key, value)| (key, value.into()));
        self.change(bucket, Change::Set(entries.collect())).await?;
        Ok(())
    }

    async fn delete_keys(&mut self, bucket: &Resource<Bucket>, keys: Vec<String>) -> Result<(), Fault> {
        self.change(bucket, Change::Delete(keys)).await?;
        Ok(())
    }

    async fn add(&mut self, bucket: &Resource<Bucket>, key: String, delta: i64) -> Result<i64, Fault> {
        match self.change(bucket, Change::Increment(key, delta)).await? {
            Outcome::Sum(sum) => Ok(sum),
            outcome => Err(Fault::Trap(wasmtime::format_err!(
                "an increment came to {outcome:?}"
            ))),
        }
    }

    async fn get_values(
        &mut self,
        bucket: &Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Fault> {
        let values = self.space(bucket)?.get_many(keys).await;
        let values = self.told(values)?.into_iter();
        Ok(values.map(|(key, value)| (key, value.map(Vec::from))).collect())
    }
}
