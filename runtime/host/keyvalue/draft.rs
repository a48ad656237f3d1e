//! Version 0.2.0-draft: cursors and sums are natural numbers, and nothing is compared and swapped.

use wasmtime::component::{Linker, Resource};

use self::bindings::wasi::keyvalue::{atomics, batch, store};
use super::{Bucket, Fault, HasKeyValue, Host, View};

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

pub fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasKeyValue>(linker, Host::keyvalue)?;
    atomics::add_to_linker::<_, HasKeyValue>(linker, Host::keyvalue)?;
    batch::add_to_linker::<_, HasKeyValue>(linker, Host::keyvalue)
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Fault> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, fault: Fault) -> wasmtime::Result<store::Error> {
        match fault {
            Fault::NoSuchStore => Ok(store::Error::NoSuchStore),
            Fault::AccessDenied => Ok(store::Error::AccessDenied),
            Fault::Other(text) => Ok(store::Error::Other(text)),
            Fault::Trap(error) => Err(error),
        }
    }
}

impl store::HostBucket for View<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, Fault> {
        self.get_value(&bucket, &key).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<(), Fault> {
        self.set_values(&bucket, vec![(key, value)]).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Fault> {
        self.delete_keys(&bucket, vec![key]).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Fault> {
        self.has(&bucket, &key).await
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, Fault> {
        let space = self.space(&bucket)?;
        // The beginning, as some guests write it.
        let cursor = cursor.filter(|cursor| *cursor != 0);
        let cursor = cursor.map(|cursor| space.numbered(cursor)).transpose();
        let page = space.keys(self.told(cursor)?).await;
        let page = self.told(page)?;
        Ok(store::KeyResponse {
            keys: page.keys,
            cursor: page.next.map(|next| space.number(next)),
        })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

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
