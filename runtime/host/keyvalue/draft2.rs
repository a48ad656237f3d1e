//! Version 0.2.0-draft2: cursors are texts, sums may be negative, and there is compare-and-swap.

use wasmtime::component::{Linker, Resource};

use self::bindings::wasi::keyvalue::{atomics, batch, store};
use super::{Bucket, Fault, HasKeyValue, Host, View};
use crate::keyvalue::{Change, Cursor, Outcome, Space};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue/draft2.wit",
        world: "imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: {
            "wasi:keyvalue/store.bucket": crate::host::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": crate::host::keyvalue::draft2::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::host::keyvalue::Fault },
    });
}

super::store::store!(
    String,
    |space: &Space, text| space.written(text).map(Some),
    |_: &Space, next: Cursor| next.text()
);

/// A value as it was seen, to be replaced if it still is that. Versions are not kept: a value that was
/// changed and changed back is the same.
pub struct Cas {
    bucket: Space,
    key: String,
    seen: Option<Vec<u8>>,
}

impl atomics::HostCas for View<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, Fault> {
        let seen = self.get_value(&bucket, &key).await?;
        let bucket = self.space(&bucket)?;
        Ok(self.table.push(Cas { bucket, key, seen })?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.table.get(&cas)?.seen.clone())
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Result<i64, Fault> {
        self.add(&bucket, key, delta).await
    }

    /// Where the value is another one, a new handle comes back that has seen it.
    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { bucket, key, seen } = self.table.delete(cas)?;
        let change = Change::Swap {
            key: key.clone(),
            expected: seen.map(Into::into),
            value: value.into(),
        };
        let outcome = bucket.change(change).await;
        match self.told(outcome) {
            Ok(Outcome::Differs(now)) => {
                let seen = now.map(Vec::from);
                let cas = self.table.push(Cas { bucket, key, seen })?;
                Ok(Err(atomics::CasError::CasFailed(cas)))
            }
            Ok(_) => Ok(Ok(())),
            Err(fault) => {
                let error = store::Host::convert_error(self, fault)?;
                Ok(Err(atomics::CasError::StoreError(error)))
            }
        }
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Fault> {
        self.get_values(&bucket, keys).await
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Fault> {
        self.set_values(&bucket, entries).await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<(), Fault> {
        self.delete_keys(&bucket, keys).await
    }
}
