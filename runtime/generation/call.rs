//! One call in one store, under its deadline. A call that has begun is never dropped by its client: that
//! would poison the store. Knows neither whose store it is nor what becomes of it.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures::poll;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Store,
    component::{Instance, TypedFunc},
};

use super::{
    RequestError,
    concurrent::{self, Terms},
    lifecycle::{Failure, Functions},
    registry,
};
use crate::{
    artifact::{Artifact, Entry, explain_trap},
    clock,
    host::{
        self, CallName, Handler, Host, OverLimit, Whose,
        body::{Body, BodyError},
        exchange::Exchange,
        http03, page,
    },
    project::ComponentId,
};

pub type Answer = Result<http::Response<Body>, RequestError>;

/// One request for a store.
pub struct Call {
    pub name: CallName,
    pub entry: Entry,
    pub params: page::Params,
    pub request: Box<http::Request<Body>>,
    pub reply: oneshot::Sender<Answer>,
    /// Until a store takes it.
    pub waits: Option<Waits>,
}

/// One for each call that no store has taken yet.
pub type Waits = Arc<()>;

impl Call {
    /// It is a store's from here on, and told of its end.
    pub fn begin(&mut self) {
        self.waits = None;
    }

    /// What is told of it where its generation was ended before a store took it.
    pub fn not_begun(self) -> RequestError {
        RequestError::NotBegun(self.request)
    }

    /// Tells the same of it to whoever waits.
    pub fn refuse(self) {
        let Self { request, reply, .. } = self;
        // Its client may be gone, which is all the same here.
        let _ = reply.send(Err(RequestError::NotBegun(request)));
    }
}

pub type PageFunction = TypedFunc<(page::Request,), (page::Response,)>;
pub type WasiHttpFunction = TypedFunc<host::http::Params, ()>;
pub type WasiHttp03Function = TypedFunc<http03::Params, http03::Results>;

/// A handler's function, its types checked.
#[derive(Clone, Copy)]
pub enum Function {
    Page(PageFunction),
    WasiHttp02(WasiHttpFunction),
    WasiHttp03(WasiHttp03Function),
}

/// A store and the instance of a slice in it.
pub struct Live {
    pub(super) store: Store<Host>,
    pub(super) instance: Instance,
    /// What it was made from.
    artifact: Arc<Artifact>,
    /// Those that were called, by their place: to check the types takes as long as a small call.
    pub(super) functions: Vec<Option<Function>>,
    /// The lifecycle functions of its components; few have any.
    pub(super) lifecycle: Vec<Arc<Functions>>,
    /// Its components were told of the start, and are to be told of the end.
    pub(super) is_started: bool,
}

/// Why a store is of no use any more.
pub enum Death {
    /// A growth of its memory that was refused before may be the reason.
    Trap(wasmtime::Error, Option<OverLimit>),
    TimeOver(Duration),
    Ended,
    /// It could not begin.
    Lifecycle(Box<Failure>),
}

impl Live {
    /// Instantiates a slice. Errors: a start that traps, takes longer than `limit`, or is ended.
    pub async fn start(
        mut store: Store<Host>,
        artifact: &Arc<Artifact>,
        slice: usize,
        limit: Duration,
        end: &CancellationToken,
    ) -> Result<Self, Death> {
        let instantiated = {
            let instantiate = pin!(artifact.slices[slice].instantiate_async(&mut store));
            within(limit, end, instantiate).await
        };
        match instantiated {
            Ok(instance) => Ok(Self {
                store,
                instance,
                artifact: artifact.clone(),
                functions: Vec::new(),
                lifecycle: Vec::new(),
                is_started: false,
            }),
            Err(death) => Err(death.with_memory(&mut store)),
        }
    }

    /// Errors: the handler's function is not of the type that its interface has.
    pub fn check(&mut self, component: &ComponentId, entry: &Entry) -> wasmtime::Result<()> {
        self.function(component, entry).map(drop)
    }

    /// As [`Self::check`], of all that can be called in it.
    pub fn check_all(&mut self, slice: usize) -> wasmtime::Result<()> {
        let artifact = self.artifact.clone();
        let mut entries = artifact.entries.iter().filter(|(_, entry)| entry.slice == slice);
        entries.try_for_each(|(component, entry)| self.check(component, entry))
    }

    fn function(&mut self, component: &ComponentId, entry: &Entry) -> wasmtime::Result<Function> {
        if let Some(Some(known)) = self.functions.get(entry.place) {
            return Ok(*known);
        }
        let Self {
            store,
            instance,
            artifact,
            ..
        } = self;
        // The place is the same in all artifacts of one generation, the index is not.
        let entry = artifact.entries.get(component).unwrap_or(entry);
        let function = match entry.handler {
            Handler::Page => Function::Page(instance.get_typed_func(store, entry.function)?),
            Handler::WasiHttp02 => Function::WasiHttp02(instance.get_typed_func(store, entry.function)?),
            Handler::WasiHttp03 => Function::WasiHttp03(instance.get_typed_func(store, entry.function)?),
        };
        if self.functions.len() <= entry.place {
            self.functions.resize(entry.place + 1, None);
        }
        self.functions[entry.place] = Some(function);
        Ok(function)
    }

    /// Runs one call. Errors: the store is dead; `fell` was told why, and then the client was answered all the
    /// same.
    pub async fn call(
        &mut self,
        call: Box<Call>,
        limit: Duration,
        end: &CancellationToken,
        fell: Fell<'_>,
    ) -> Result<(), Death> {
        let function = self
            .function(&call.name.component, &call.entry)
            .map_err(Death::trap)?;
        let _calling = self.store.data().calling(&call.name);
        // What was refused before this call is not its fault.
        self.store.data_mut().take_refused_memory();
        // The ticks since the last call were not this one's.
        self.store.set_epoch_deadline(1);
        let deadlined = Deadlined {
            live: self,
            limit,
            end,
            fell,
        };
        match function {
            Function::Page(handle) => deadlined.call_page(handle, call).await,
            // Boxed, so that calls of pages do not carry their size.
            Function::WasiHttp02(handle) => Box::pin(deadlined.call_wasi_http(handle, call)).await,
            Function::WasiHttp03(_) => {
                let terms = Terms {
                    request_time: limit,
                    most: 1,
                    end,
                    answered: &|_| (),
                };
                Box::pin(concurrent::serve_one(self, call, &terms, fell)).await
            }
        }
    }

    /// Ends with an error what its guests have left unfinished: dropped with the store it would look
    /// finished to the client.
    pub fn break_off(mut self) {
        host::http::break_off(self.store.data_mut());
    }
}

/// A live store under the deadline of one call.
struct Deadlined<'a> {
    live: &'a mut Live,
    limit: Duration,
    end: &'a CancellationToken,
    fell: Fell<'a>,
}

/// Who is told why a store died in a call.
pub type Fell<'a> = &'a (dyn Fn(CallName, &Death) + Sync);

impl Deadlined<'_> {
    async fn call_page(self, handle: PageFunction, call: Box<Call>) -> Result<(), Death> {
        let Call {
            name,
            params,
            request,
            reply,
            ..
        } = *call;
        let fell = self.fell;
        let (parts, body) = request.into_parts();
        let answer = match whole(body).await {
            Ok(body) => {
                let request = page::request(&parts, params, &body);
                self.run_page(handle, request).await
            }
            Err(error) => Ok(Err(RequestError::BadRequest(error.to_string()))),
        };
        let (answer, result) = match answer {
            Ok(answer) => (answer, Ok(())),
            Err(death) => {
                fell(name, &death);
                (Err(death.as_request_error()), Err(death))
            }
        };
        // Its client may be gone, which is all the same to the store.
        let _ = reply.send(answer);
        result
    }

    async fn run_page(self, handle: PageFunction, request: page::Request) -> Result<Answer, Death> {
        let Self { live, limit, end, .. } = self;
        let called = {
            let guest = pin!(handle.call_async(&mut live.store, (request,)));
            within(limit, end, guest).await
        };
        let (response,) = called.map_err(|death| death.with_memory(&mut live.store))?;
        Ok(page_answer(response, live.store.data()))
    }

    async fn call_wasi_http(self, handle: WasiHttpFunction, call: Box<Call>) -> Result<(), Death> {
        let Self {
            live,
            limit,
            end,
            fell,
        } = self;
        let Call {
            name, request, reply, ..
        } = *call;
        let exchange = Exchange::default();
        let request = request.map(|body| exchange.upload(body));
        let (sender, mut response) = oneshot::channel();
        let answered = |answer| drop(sender.send(answer));
        let params = match host::http::incoming(live.store.data_mut(), request, answered) {
            Ok(params) => params,
            Err(error) => {
                let _ = reply.send(Err(RequestError::BadRequest(error.to_string())));
                return Ok(());
            }
        };
        let mut reply = Some(reply);
        let result = {
            let guest = pin!(handle.call_async(&mut live.store, params));
            let guest = pin!(within(limit, end, guest));
            let mut guest = pin!(registry::hurry(limit, &exchange, guest));
            tokio::select! {
                biased;
                // The response goes out while the guest still writes its body.
                early = &mut response => {
                    if let Ok(early) = early {
                        answer_with(&mut reply, forward(early, &exchange));
                    }
                    guest.await
                }
                result = &mut guest => result,
            }
        };
        let result = result.map_err(|death| death.with_memory(&mut live.store));
        if let Err(death) = &result {
            fell(name, death);
            host::http::break_off(live.store.data_mut());
        }
        exchange.guest_is_over();
        let late = match (&result, response.try_recv()) {
            (Ok(()), Ok(late)) => forward(late, &exchange),
            (Ok(()), Err(_)) => Err(RequestError::BadResponse("it returned without a response".into())),
            (Err(death), _) => Err(death.as_request_error()),
        };
        answer_with(&mut reply, late);
        result
    }
}

/// What a page answered, for its client.
pub fn page_answer(response: page::Response, host: &Host) -> Answer {
    let response = page::response(response).map_err(RequestError::BadResponse)?;
    host.with_body(response).ok_or(RequestError::NoMemory)
}

/// A body that was collected before.
async fn whole(body: Body) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    Ok(Box::pin(body.collect()).await?.to_bytes())
}

/// Answers once. The client may be gone, which is all the same to the store.
fn answer_with(reply: &mut Option<oneshot::Sender<Answer>>, answer: Answer) {
    if let Some(reply) = reply.take() {
        let _ = reply.send(answer);
    }
}

/// What a WASI HTTP guest answered, for its client.
pub fn forward(answer: host::http::Answer, exchange: &Exchange) -> Answer {
    match answer {
        Ok(response) => host::http::outgoing(response, exchange).map_err(RequestError::BadResponse),
        // `Debug` escapes the guest's own words.
        Err(code) => Err(RequestError::BadResponse(format!(
            "it answered with the error {code:?}"
        ))),
    }
}

impl Death {
    pub fn trap(error: wasmtime::Error) -> Self {
        Self::Trap(error, None)
    }

    /// With what is known of the store's memory.
    pub fn with_memory(self, store: &mut Store<Host>) -> Self {
        match self {
            Self::Trap(error, _) => Self::Trap(error, store.data_mut().take_refused_memory()),
            other => other,
        }
    }

    /// True where the server as a whole had no memory left.
    pub fn is_for_want_of_memory(&self) -> bool {
        matches!(self, Self::Trap(_, Some(over)) if over.of == Whose::Server)
    }

    pub fn is_trap(&self) -> bool {
        matches!(self, Self::Trap(..))
    }

    pub fn as_request_error(&self) -> RequestError {
        match self {
            Self::Trap(..) | Self::Lifecycle(_) => RequestError::Trapped,
            Self::TimeOver(_) => RequestError::TimeOver,
            Self::Ended => RequestError::Ended,
        }
    }
}

/// For the log and the events.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap(error, None) => f.write_str(&explain_trap(error)),
            Self::Trap(error, Some(over)) => write!(f, "{}; {over}", explain_trap(error)),
            Self::TimeOver(limit) => {
                write!(
                    f,
                    "the request took longer than {}",
                    humantime::format_duration(*limit)
                )
            }
            Self::Ended => f.write_str("it was ended"),
            Self::Lifecycle(failure) => write!(f, "{failure}"),
        }
    }
}

/// Runs a guest until it ends, its time is over, or its generation is ended. The guest yields at every
/// tick of the engine's epoch, so a loop cannot keep the deadline from being seen.
pub async fn within<T>(
    limit: Duration,
    end: &CancellationToken,
    mut guest: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
) -> Result<T, Death> {
    let deadline = clock::now() + limit;
    // Most end at once, and need neither a timer nor to be told of the end.
    if let Poll::Ready(result) = poll!(guest.as_mut()) {
        return result.map_err(Death::trap);
    }
    tokio::select! {
        biased;
        result = guest => result.map_err(Death::trap),
        () = clock::sleep_until(deadline) => Err(Death::TimeOver(limit)),
        () = end.cancelled() => Err(Death::Ended),
    }
}
