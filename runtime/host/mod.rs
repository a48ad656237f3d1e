//! What a guest may reach: the state of a store and the interfaces that it is linked to. Deny by
//! default: no arguments and no sockets, and no environment, configuration, directory or outgoing request
//! but those that its group was granted.
//! Knows neither artifacts nor generations nor routes.

mod allowance;
pub mod body;
mod callers;
mod clocks;
pub mod exchange;
mod files;
pub mod http;
pub mod http03;
mod keyvalue;
mod limits;
mod names;
mod outgoing;
mod output;
pub mod page;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use wasmtime::{
    Engine, Store, UpdateDeadline,
    component::{Linker, ResourceTable},
};
use wasmtime_wasi::{
    FsPerms, WasiCtx, WasiCtxView, WasiView,
    clocks::{MonotonicClock, WallClock},
};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use self::{
    allowance::Allowance,
    body::Body,
    callers::Callers,
    clocks::Moved,
    keyvalue::KeyValue,
    limits::{MemorySource, StoreMemory},
    outgoing::{Outgoing, Reach},
    output::GuestOutput,
};
pub use self::{
    callers::{CallName, Calling, REQUEST_ID, TRACEPARENT},
    limits::{OverLimit, Whose},
};
use crate::{
    clock,
    diagnostic::Diagnostic,
    engine::{self, Engines, Kind},
    project::{Directory, Grants, Limits, Text},
};

/// The state of one store.
pub struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Outgoing,
    config: Arc<WasiConfigVariables>,
    keyvalue: KeyValue,
    table: ResourceTable,
    memory: StoreMemory,
    /// Files and folders that may be open.
    files: usize,
    callers: Callers,
}

/// What all stores of a generation are given.
pub struct Provision {
    group: Arc<str>,
    limits: Limits,
    memory: MemorySource,
    grants: Grants,
    config: Arc<WasiConfigVariables>,
    reach: Option<Arc<Reach>>,
    keyvalue: KeyValue,
    /// What they may print.
    output: Arc<Allowance>,
}

/// Which handler a page component exports; the later one is served where it exports several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handler {
    /// `wasmhost:page/handler@0.1`
    Page,
    /// `wasi:http/incoming-handler@0.2`
    WasiHttp02,
    /// `wasi:http/handler@0.3`
    WasiHttp03,
}

impl Handler {
    /// The handler that an export of this name is, if any.
    pub fn of(interface: &str) -> Option<Self> {
        let (path, version) = interface.split_once('@')?;
        match path {
            "wasmhost:page/handler" if version.starts_with("0.1.") => Some(Self::Page),
            "wasi:http/incoming-handler" if is_of_series(version, "0.2.") => Some(Self::WasiHttp02),
            "wasi:http/handler" if is_of_series(version, "0.3.") => Some(Self::WasiHttp03),
            _ => None,
        }
    }
}

/// A release candidate is of no series: nothing else is compatible with it.
fn is_of_series(version: &str, series: &str) -> bool {
    version.starts_with(series) && !version.contains('-')
}

/// The WASI 0.2 interfaces that [`linker`] offers.
const OFFERED_02: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The WASI 0.3 interfaces that [`linker`] offers.
const OFFERED_03: [&str; 23] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/client",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// It has no other version yet.
const CONFIG: (&str, &str) = ("wasi:config/store", "0.2.0-rc.1");

/// Both drafts, as guests of wasmtime and of Spin import them.
const KEYVALUE: ([&str; 3], [&str; 2]) = (
    [
        "wasi:keyvalue/atomics",
        "wasi:keyvalue/batch",
        "wasi:keyvalue/store",
    ],
    ["0.2.0-draft", "0.2.0-draft2"],
);

/// True for an interface that is of no use without the grant of the same name.
pub fn needs_keyvalue(interface: &str) -> bool {
    interface
        .split_once('@')
        .is_some_and(|(path, version)| KEYVALUE.0.contains(&path) && KEYVALUE.1.contains(&version))
}

/// True where the host implements the interface of this name, in this version.
pub fn offers(interface: &str) -> bool {
    let offered = |path: &str, version: &str| {
        (path, version) == CONFIG
            || needs_keyvalue(interface)
            || (is_of_series(version, "0.2.") && OFFERED_02.contains(&path))
            || (is_of_series(version, "0.3.") && OFFERED_03.contains(&path))
    };
    interface
        .split_once('@')
        .is_some_and(|(path, version)| offered(path, version))
}

/// The interfaces of the host's own WIT; all are of the series 0.1.
const OWN: [&str; 4] = [
    "wasmhost:page/handler@0.1.0",
    "wasmhost:page/types@0.1.0",
    "wasmhost:lifecycle/hooks@0.1.0",
    "wasmhost:lifecycle/state@0.1.0",
];

/// For an interface of the host's own WIT that this host does not have: those that it has, by the same
/// name in other versions where there are any.
pub fn has_instead(interface: &str) -> Option<Vec<&'static str>> {
    if !interface.starts_with("wasmhost:") {
        return None;
    }
    let (path, version) = interface.split_once('@').unwrap_or((interface, ""));
    let of_name = |own: &&str| own.split_once('@').is_some_and(|(own, _)| own == path);
    let named: Vec<_> = OWN.into_iter().filter(of_name).collect();
    match (named.is_empty(), version.starts_with("0.1.")) {
        (true, _) => Some(OWN.to_vec()),
        (false, false) => Some(named),
        (false, true) => None,
    }
}

/// True for an interface of WASI that has asynchronous functions, streams and futures.
pub fn is_concurrent(interface: &str) -> bool {
    interface
        .split_once('@')
        .is_some_and(|(path, version)| path.starts_with("wasi:") && is_of_series(version, "0.3."))
}

/// A linker with everything that the host offers to components that run on this kind of engine.
/// Errors: none that a user could cause.
pub fn linker(engines: &Engines, kind: Kind) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engines.of(kind));
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    files::limit(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    if kind.concurrent {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        files::limit_03(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    wasmtime_wasi_config::add_to_linker(&mut linker, |host: &mut Host| WasiConfig::from(&*host.config))?;
    keyvalue::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// With their secrets.
fn texts(granted: &BTreeMap<String, Text>) -> impl Iterator<Item = (String, String)> {
    let granted = granted.iter();
    granted.map(|(name, text)| (name.clone(), text.reveal().to_owned()))
}

impl Provision {
    /// `engines` have what the stores of all groups take their memory from, and keep their keys and values in.
    /// Errors: the authorities that they are to trust cannot be read; the URL of a Redis or NATS is none.
    pub fn new(
        group: &Arc<str>,
        limits: &Limits,
        grants: &Grants,
        engines: &Engines,
    ) -> Result<Self, Diagnostic> {
        let output = Arc::new(Allowance::new(limits.output, clock::now()));
        Ok(Self {
            group: group.clone(),
            limits: limits.clone(),
            memory: MemorySource {
                limit: limits.memory,
                instances: limits.instances,
                total: engines.memory.clone(),
                taken: Arc::default(),
                serves: Arc::new(AtomicBool::new(false)),
            },
            config: Arc::new(texts(&grants.config).collect()),
            reach: Reach::new(grants, limits.request_time)?,
            keyvalue: KeyValue::new(group, limits, grants, &engines.keyvalue, &output)?,
            grants: grants.clone(),
            output,
        })
    }

    /// Bytes that its stores take.
    pub fn memory(&self) -> Arc<AtomicU64> {
        self.memory.taken.clone()
    }

    /// From now on its stores take memory as those that serve.
    pub fn serves(&self) {
        self.memory.serves.store(true, Ordering::Relaxed);
    }

    /// A new store. Errors: a directory that was granted cannot be opened any more.
    pub fn store(&self, engine: &Engine) -> wasmtime::Result<Store<Host>> {
        let callers = Callers::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.limits.handles);
        let host = Host {
            wasi: self.wasi(&callers)?,
            http: WasiHttpCtx::new(),
            hooks: Outgoing::new(
                &self.group,
                self.reach.clone(),
                self.limits.connections,
                &self.output,
            ),
            config: self.config.clone(),
            keyvalue: self.keyvalue.clone(),
            table,
            memory: StoreMemory::new(self.memory.clone()),
            files: self.limits.files,
            callers,
        };
        let mut store = Store::new(engine, host);
        store.limiter(|host| &mut host.memory);
        store.set_max_component_handles(self.limits.handles);
        store.set_hostcall_fuel(usize::try_from(self.limits.call_size).unwrap_or(usize::MAX));
        // A guest that computes gives the thread back at every tick; who calls it keeps the deadline.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| {
            engine::note_tick();
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(store)
    }

    fn wasi(&self, callers: &Callers) -> wasmtime::Result<WasiCtx> {
        let mut wasi = WasiCtx::builder();
        let output = |stream| GuestOutput::new(&self.group, stream, callers, &self.output);
        wasi.stdout(output("stdout")).stderr(output("stderr"));
        let (wall, monotonic) = (WallClock::new(), MonotonicClock::new());
        wasi.wall_clock(Moved(wall)).monotonic_clock(Moved(monotonic));
        for (name, value) in texts(&self.grants.env) {
            wasi.env(name, value);
        }
        for Directory { host, guest, write } in &self.grants.directories {
            let permissions = if *write {
                FsPerms::ReadWrite
            } else {
                FsPerms::ReadOnly
            };
            wasi.preopened_dir(host, guest, permissions).map_err(|error| {
                error.context(format!("the directory {} cannot be opened", host.display()))
            })?;
        }
        Ok(wasi.build())
    }
}

impl Host {
    /// Notes that a call is under way, as long as the value lives: what the store prints is its.
    pub fn calling(&self, name: &CallName) -> Calling {
        self.callers.calling(name)
    }

    /// A response with its body, which counts as memory of the server. `None` where so much is not left.
    pub fn with_body(&self, response: ::http::Response<Bytes>) -> Option<::http::Response<Body>> {
        let (head, bytes) = response.into_parts();
        let bytes = body::counted(bytes, self.memory.total()).ok()?;
        Some(::http::Response::from_parts(head, body::full(bytes)))
    }

    /// The last growth of its store's memory that was refused, since this was asked.
    pub fn take_refused_memory(&mut self) -> Option<OverLimit> {
        self.memory.take_refused()
    }
}

/// True where a guest may answer with it: the classes below and above are not a response's.
fn is_status_of_a_response(status: u16) -> bool {
    (200..600).contains(&status)
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_known_by_interface_and_version() {
        assert_eq!(Handler::of("wasmhost:page/handler@0.1.0"), Some(Handler::Page));
        assert_eq!(
            Handler::of("wasi:http/incoming-handler@0.2.4"),
            Some(Handler::WasiHttp02)
        );
        assert_eq!(Handler::of("wasi:http/incoming-handler@0.3.0"), None);
        assert_eq!(Handler::of("wasi:http/handler@0.3.0"), Some(Handler::WasiHttp03));
        assert_eq!(Handler::of("wasi:http/handler@0.3.0-rc-2026-01-06"), None);
        assert!(Handler::WasiHttp03 > Handler::WasiHttp02, "the newest is served");
        assert_eq!(Handler::of("wasmhost:page/handler"), None);
        assert_eq!(Handler::of("site:shop/handler@0.1.0"), None);
    }

    #[test]
    fn what_is_newer_than_the_host_is_known_as_such() {
        assert_eq!(has_instead("wasmhost:page/handler@0.1.0"), None);
        assert_eq!(has_instead("wasmhost:page/types@0.1.3"), None);
        assert_eq!(has_instead("site:shop/handler@0.2.0"), None);
        let handler = has_instead("wasmhost:page/handler@0.2.0");
        assert_eq!(handler, Some(vec!["wasmhost:page/handler@0.1.0"]));
        let unheard_of = has_instead("wasmhost:cache/store@0.1.0");
        assert_eq!(unheard_of, Some(OWN.to_vec()));
    }

    #[test]
    fn the_offer_is_exact() {
        assert!(offers("wasi:io/streams@0.2.6"));
        assert!(!offers("wasi:io/streams@0.3.0"));
        assert!(offers("wasi:http/client@0.3.0"));
        assert!(!offers("wasi:http/client@0.2.0"));
        assert!(!offers("wasi:http/types@0.3.0-rc-2026-01-06"));
        assert!(!offers("wasi:keyvalue/store@0.2.0"));
        assert!(offers("wasi:keyvalue/store@0.2.0-draft"));
        assert!(offers("wasi:keyvalue/batch@0.2.0-draft2"));
        assert!(!offers("wasi:keyvalue/watcher@0.2.0-draft2"));
        assert!(offers("wasi:config/store@0.2.0-rc.1"));
        assert!(!offers("wasi:config/store@0.2.0"));
    }
}
