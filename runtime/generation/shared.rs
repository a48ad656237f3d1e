//! The one store of a `shared` group and the task that owns it. Calls run one after another, in order
//! of arrival. A call that has begun is never dropped by its client: that would poison the store.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use wasmtime::{Store, component::Instance};

use super::{GenerationId, Incident, Observer, RequestError};
use crate::{
    artifact::{Artifact, Entry},
    diagnostic::Diagnostic,
    host::{self, Handler, Host, body::Body, page},
    project::{ComponentId, Limits},
};

type Answer = Result<http::Response<Body>, RequestError>;

/// One request for the store.
pub struct Call {
    pub component: ComponentId,
    pub entry: Entry,
    pub params: page::Params,
    pub request: http::Request<Body>,
    pub reply: oneshot::Sender<Answer>,
}

/// What the store task owns.
pub struct SharedStore {
    id: GenerationId,
    artifact: Arc<Artifact>,
    limits: Limits,
    observer: Observer,
    end: CancellationToken,
    /// `None` after a trap, until the next store is there.
    live: Option<Live>,
}

/// A store and the instance of the composition in it.
struct Live {
    store: Store<Host>,
    instance: Instance,
}

/// Why a store is of no use any more.
enum Death {
    Trap(wasmtime::Error),
    TimeOver(Duration),
    Ended,
}

impl SharedStore {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(
        id: GenerationId,
        artifact: Arc<Artifact>,
        limits: Limits,
        observer: Observer,
        end: CancellationToken,
    ) -> Result<Self, Diagnostic> {
        let live = Some(Live::start(&id, &artifact, &limits).await?);
        Ok(Self {
            id,
            artifact,
            limits,
            observer,
            end,
            live,
        })
    }

    /// Answers calls until nobody can send another, or the generation is ended.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Call>) {
        let end = self.end.clone();
        loop {
            let call = tokio::select! {
                biased;
                () = end.cancelled() => return,
                call = inbox.recv() => call,
            };
            match call {
                Some(call) if call.reply.is_closed() => {}
                Some(call) => self.answer(call).await,
                None => return,
            }
        }
    }

    async fn answer(&mut self, call: Call) {
        let component = call.component.clone();
        let Some(live) = self.live().await else {
            // Its client may be gone, which is all the same here.
            let _ = call.reply.send(Err(RequestError::Trapped));
            return;
        };
        if let Err(death) = live.call(call).await {
            self.bury(component, death).await;
        }
    }

    /// The store, or a new one of the same generation where the last one died.
    async fn live(&mut self) -> Option<Deadlined<'_>> {
        if self.live.is_none() {
            match Live::start(&self.id, &self.artifact, &self.limits).await {
                Ok(live) => {
                    self.live = Some(live);
                    (self.observer)(&self.id, Incident::Recovered);
                }
                Err(diagnostic) => {
                    tracing::error!(generation = %self.id, "no new store: {}", diagnostic.message)
                }
            }
        }
        let live = self.live.as_mut()?;
        Some(Deadlined {
            live,
            limit: self.limits.request_time,
            end: &self.end,
        })
    }

    /// Drops a dead store, says why, and starts the next one.
    async fn bury(&mut self, component: ComponentId, death: Death) {
        self.live = None;
        let (component, message) = match death {
            Death::Ended => return,
            Death::TimeOver(limit) => (
                component,
                format!(
                    "the request took longer than {}",
                    humantime::format_duration(limit)
                ),
            ),
            Death::Trap(error) => (
                self.artifact.component_of(&error).cloned().unwrap_or(component),
                format!("{error:#}"),
            ),
        };
        (self.observer)(&self.id, Incident::Trapped { component, message });
        self.live().await;
    }
}

impl Live {
    async fn start(id: &GenerationId, artifact: &Artifact, limits: &Limits) -> Result<Self, Diagnostic> {
        let pre = &artifact.instance_pre;
        let mut store = host::store(pre.engine(), &id.group, limits.memory);
        match tokio::time::timeout(limits.start_time, pre.instantiate_async(&mut store)).await {
            Ok(Ok(instance)) => Ok(Self { store, instance }),
            Ok(Err(error)) => Err(start_failed(id, artifact, &error)),
            Err(_) => {
                let limit = humantime::format_duration(limits.start_time);
                let message = format!("the group {} did not start within {limit}", id.group);
                Err(Diagnostic::new("start-time-over", message).help(
                    "look for a loop in a start function, or raise `start-time` in [groups.NAME.limits]",
                ))
            }
        }
    }
}

fn start_failed(id: &GenerationId, artifact: &Artifact, error: &wasmtime::Error) -> Diagnostic {
    let who = artifact
        .component_of(error)
        .map_or_else(|| format!("the group {}", id.group), ToString::to_string);
    Diagnostic::new(
        "start-trapped",
        format!("{who} failed while it was instantiated: {error:#}"),
    )
}

/// A live store under the deadline of one call.
struct Deadlined<'a> {
    live: &'a mut Live,
    limit: Duration,
    end: &'a CancellationToken,
}

impl Deadlined<'_> {
    /// Runs one call. Errors: the store is dead; the client has been answered all the same.
    async fn call(self, call: Call) -> Result<(), Death> {
        match call.entry.handler {
            Handler::Page => self.call_page(call).await,
            Handler::WasiHttp02 => self.call_wasi_http(call).await,
        }
    }

    async fn call_page(self, call: Call) -> Result<(), Death> {
        let Call {
            entry,
            params,
            request,
            reply,
            ..
        } = call;
        let (parts, body) = request.into_parts();
        let answer = match body.collect().await {
            Ok(body) => {
                let request = page::request(&parts, params, &body.to_bytes());
                self.run_page(&entry, request).await
            }
            Err(error) => Ok(Err(RequestError::BadRequest(error.to_string()))),
        };
        let (answer, result) = match answer {
            Ok(answer) => (answer, Ok(())),
            Err(death) => (Err(death.as_request_error()), Err(death)),
        };
        // Its client may be gone, which is all the same to the store.
        let _ = reply.send(answer);
        result
    }

    async fn run_page(self, entry: &Entry, request: page::Request) -> Result<Answer, Death> {
        let Self {
            live: Live { store, instance },
            limit,
            end,
        } = self;
        let handle = instance
            .get_typed_func::<(&page::Request,), (page::Response,)>(&mut *store, &entry.function)
            .map_err(Death::Trap)?;
        let (response,) = within(limit, end, handle.call_async(store, (&request,))).await?;
        Ok(page::response(response)
            .map(|response| response.map(host::body::full))
            .map_err(RequestError::BadResponse))
    }

    async fn call_wasi_http(self, call: Call) -> Result<(), Death> {
        let Self {
            live: Live { store, instance },
            limit,
            end,
        } = self;
        let Call {
            entry,
            request,
            reply,
            ..
        } = call;
        let (params, mut response) = match host::http::incoming(store.data_mut(), request) {
            Ok(incoming) => incoming,
            Err(error) => {
                let _ = reply.send(Err(RequestError::BadRequest(error.to_string())));
                return Ok(());
            }
        };
        let handle = instance
            .get_typed_func::<host::http::Params, ()>(&mut *store, &entry.function)
            .map_err(Death::Trap)?;
        let over = CancellationToken::new();
        let _over_at_the_end = over.clone().drop_guard();
        let mut reply = Some(reply);
        let result = {
            let mut guest = std::pin::pin!(within(limit, end, handle.call_async(&mut *store, params)));
            tokio::select! {
                biased;
                // The response goes out while the guest still writes its body.
                early = &mut response => {
                    if let Ok(early) = early {
                        answer_with(&mut reply, forward(early, &over));
                    }
                    guest.await
                }
                result = &mut guest => result,
            }
        };
        if result.is_err() {
            host::http::break_off(store.data_mut());
        }
        let late = match (&result, response.try_recv()) {
            (Ok(()), Ok(late)) => forward(late, &over),
            (Ok(()), Err(_)) => Err(RequestError::BadResponse("it returned without a response".into())),
            (Err(death), _) => Err(death.as_request_error()),
        };
        answer_with(&mut reply, late);
        result
    }
}

/// Answers once. The client may be gone, which is all the same to the store.
fn answer_with(reply: &mut Option<oneshot::Sender<Answer>>, answer: Answer) {
    if let Some(reply) = reply.take() {
        let _ = reply.send(answer);
    }
}

/// What a WASI HTTP guest answered, for its client.
fn forward(answer: host::http::Answer, over: &CancellationToken) -> Answer {
    match answer {
        Ok(response) => host::http::outgoing(response, over).map_err(RequestError::BadResponse),
        // `Debug` escapes the guest's own words.
        Err(code) => Err(RequestError::BadResponse(format!(
            "it answered with the error {code:?}"
        ))),
    }
}

impl Death {
    fn as_request_error(&self) -> RequestError {
        match self {
            Self::Trap(_) => RequestError::Trapped,
            Self::TimeOver(_) => RequestError::TimeOver,
            Self::Ended => RequestError::Ended,
        }
    }
}

/// Runs a guest until it ends, its time is over, or its generation is ended. The guest yields at every
/// tick of the engine's epoch, so a loop cannot keep the deadline from being seen.
async fn within<T>(
    limit: Duration,
    end: &CancellationToken,
    guest: impl Future<Output = wasmtime::Result<T>>,
) -> Result<T, Death> {
    let deadline = Instant::now() + limit;
    tokio::select! {
        biased;
        result = guest => result.map_err(Death::Trap),
        () = tokio::time::sleep_until(deadline) => Err(Death::TimeOver(limit)),
        () = end.cancelled() => Err(Death::Ended),
    }
}
