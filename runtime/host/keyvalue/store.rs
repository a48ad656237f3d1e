//! What both versions of the interfaces have in common, for the types that each has of its own.

/// `store` of a version, whose cursors are `$cursor`, read and written by these functions; and what links it.
macro_rules! store {
    ($cursor:ty, $read:expr, $write:expr) => {
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

            async fn set(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
                value: Vec<u8>,
            ) -> Result<(), Fault> {
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
                cursor: Option<$cursor>,
            ) -> Result<store::KeyResponse, Fault> {
                let space = self.space(&bucket)?;
                let cursor = match cursor {
                    Some(cursor) => $read(&space, cursor),
                    None => Ok(None),
                };
                let page = space.keys(self.told(cursor)?).await;
                let page = self.told(page)?;
                Ok(store::KeyResponse {
                    keys: page.keys,
                    cursor: page.next.map(|next| $write(&space, next)),
                })
            }

            async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
                self.table.delete(bucket)?;
                Ok(())
            }
        }
    };
}

pub(super) use store;
