//! Version 0.2.0-draft: cursors and sums are natural numbers, and nothing is compared and swapped.

use wasmtime::component::{Linker, Resource};

use self::bindings::wasi::keyvalue::{atomics, batch, store};
use super::{Bucket, Fault, HasKeyValue, Host, View};
use crate::keyvalue::Space;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue/draft.wit",
        world: "imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: { "wasi:keyvalue/store.bucket": crate::host::keyvalue::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::host::keyvalue::Fault },
    });
}

super::store::store!(
    u64,
    // 0 is the beginning, as some guests write it.
    |space: &Space, number| match number {
        0 => Ok(None),
        number => space.numbered(number).map(Some),
    },
    Space::number
);

impl atomics::Host for View<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Result<u64, Fault> {
        let delta = i64::try_from(delta).map_err(|_| Fault::Other("the number is too large".into()))?;
        let sum = self.add(&bucket, key, delta).await?;
        u64::try_from(sum).map_err(|_| Fault::Other(format!("the sum is {sum}, below 0")))
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Fault> {
        let values = self.get_values(&bucket, keys).await?.into_iter();
        Ok(values.map(|(key, value)| Some((key, value?))).collect())
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
