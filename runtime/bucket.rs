//! A bucket of NATS JetStream: how its servers are connected to, and how it is found or made. Knows not what is in it.

use std::time::Duration;

use async_nats::{
    ConnectOptions,
    jetstream::{
        Context, ErrorCode,
        context::{CreateStreamError, CreateStreamErrorKind},
        kv::Store,
        stream::{Config, DiscardPolicy},
    },
};

use crate::diagnostic::with_causes;

/// Servers of a cluster that have each key: one of them may go.
const REPLICAS: usize = 3;

/// For connecting to any of so many servers, and for all that one call asks.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How each client of ours connects, to one of so many servers.
pub fn options(servers: usize, is_tls: bool) -> ConnectOptions {
    ConnectOptions::new()
        .name("wasmhost")
        // All are tried within it.
        .connection_timeout(PATIENCE / u32::try_from(servers).unwrap_or(1).max(1))
        .request_timeout(Some(PATIENCE))
        .reconnect_delay_callback(|tries| Duration::from_millis(100 * (tries as u64).clamp(1, 20)))
        .require_tls(is_tls)
}

/// The bucket of this name, which is made where there is none. A value has `most` bytes at most, or -1 for what NATS
/// takes. Errors: why there is none.
pub async fn open(context: &Context, bucket: &str, about: &str, most: i32) -> Result<Store, String> {
    if let Ok(store) = context.get_key_value(bucket).await {
        return Ok(store);
    }
    make(context, bucket, about, most).await?;
    let made = context.get_key_value(bucket).await;
    made.map_err(|error| with_causes(&error))
}

/// One server has all of it, or three of a cluster.
async fn make(context: &Context, bucket: &str, about: &str, most: i32) -> Result<(), String> {
    let of = |replicas| context.create_stream(config(bucket, about, most, replicas));
    let mut made = of(REPLICAS).await;
    if says(&made, ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED) {
        made = of(1).await;
    }
    if says(&made, ErrorCode::CLUSTER_NO_PEERS) {
        return Err(format!(
            "this cluster of NATS has not three servers with JetStream that could keep the bucket {bucket}: start them, or \
             make it with less, `nats kv add {bucket} --history 1 --replicas 1`"
        ));
    }
    made.map(drop).map_err(|error| with_causes(&error))
}

fn says<T>(made: &Result<T, CreateStreamError>, code: ErrorCode) -> bool {
    let kind = made.as_ref().err().map(CreateStreamError::kind);
    matches!(kind, Some(CreateStreamErrorKind::JetStream(error)) if error.error_code() == code)
}

/// The stream of a bucket, as every client of NATS makes one, but that it is read where it is written: whoever else has it
/// may be behind. The library's own way asks for the account first, whose answer of servers before 2.10 it does
/// not understand.
fn config(bucket: &str, about: &str, most: i32, replicas: usize) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        description: Some(about.into()),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        max_message_size: most,
        max_bytes: -1,
        max_messages: -1,
        max_consumers: -1,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: false,
        ..Config::default()
    }
}
