//! One store in its event loop: WASI HTTP 0.3 requests interleave in it, all others of the same store run
//! one at a time, in order of arrival. The futures of calls live here alone: dropping one that has not
//! begun would poison the store. Deadlines are kept from outside of the loop, see `registry`.
//! Knows not whose store it is.

use std::{
    future::poll_fn,
    hash::{Hash, Hasher},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wasmtime::{
    AsContextMut,
    component::{Accessor, GuestTaskId},
};

use super::{
    RequestError,
    call::{
        Call, Death, Fell, Function, Live, PageFunction, WasiHttp03Function, WasiHttpFunction, forward,
        page_answer,
    },
    intake::{Calls, Intake, Next, next, runs_in_line},
    paused::Pause,
    registry::Registry,
    turns::Turns,
};
use crate::{
    artifact::Entry,
    host::{self, Host, exchange::Exchange, http03, page},
    project::ComponentId,
};

/// What a store lives by.
pub struct Terms<'a> {
    pub request_time: Duration,
    /// Calls that it has under way at most.
    pub most: usize,
    pub end: &'a CancellationToken,
    /// Told of each call that ended well.
    pub answered: &'a (dyn Fn(&ComponentId) + Sync),
}

/// Runs one call alone. Errors: the store is dead; `fell` was told why.
pub async fn serve_one(
    live: &mut Live,
    call: Box<Call>,
    terms: &Terms<'_>,
    fell: Fell<'_>,
) -> Result<(), Death> {
    let (sender, calls) = mpsc::channel(1);
    // There is room for one.
    let _ = sender.try_send(call);
    drop(sender);
    let (_, no_pauses) = mpsc::channel(1);
    let mut intake = Some(Calls::new(calls, no_pauses, Some).lock_owned().await);
    let mut visit = Visit::new(terms);
    serve(live, &mut intake, &mut visit, terms, fell).await.map(drop)
}

/// The calls of a store that are under way, from one turn of its event loop to the next.
pub struct Visit {
    registry: Arc<Registry>,
    lingering: Vec<Lingering>,
}

impl Visit {
    pub fn new(terms: &Terms<'_>) -> Self {
        Self {
            registry: Arc::new(Registry::new(terms.request_time)),
            lingering: Vec::new(),
        }
    }

    /// Ends what is left of it: the store is dead.
    pub fn fall(&self, death: &Death) {
        self.registry.fall(death);
    }
}

/// Runs the calls of `intake` until nobody can send another and the last is over, or until a pause: then no
/// guest is at work, and what is left of `visit` are clients that still read. A store in which a guest does
/// not finish in its time lets go of `intake`, and ends with the last of its other calls.
/// Errors: the store is dead; `fell` was told why, and all clients have been answered.
pub async fn serve(
    live: &mut Live,
    // Its successor begins when this is free: not before all is told of it.
    intake: &mut Option<Intake>,
    visit: &mut Visit,
    terms: &Terms<'_>,
    fell: Fell<'_>,
) -> Result<Option<Pause>, Death> {
    let Visit { registry, lingering } = visit;
    let (functions, turns) = (live.functions.clone(), Turns::default());
    let turning = live.store.run_concurrent(async |accessor| {
        let store = Loop {
            accessor,
            functions: &functions,
            registry,
            turns: &turns,
            most: terms.most,
            answered: terms.answered,
        };
        store.turn(intake, lingering, fell).await
    });
    let turning = turns.take(turning, || registry.turned());
    let result = tokio::select! {
        biased;
        result = turning => result.flatten().map_err(Death::trap),
        () = registry.look_after() => Err(Death::TimeOver(terms.request_time)),
        () = terms.end.cancelled() => Err(Death::Ended),
    };
    let death = match result {
        Ok(Turned::Over) => return Ok(None),
        Ok(Turned::Paused(pause)) => return Ok(Some(pause)),
        // It was told before: the store had only to see its other calls to their end.
        Ok(Turned::Late) => Death::TimeOver(terms.request_time),
        Err(death) => {
            let death = death.with_memory(&mut live.store);
            if let Some(name) = registry.eldest() {
                fell(name, &death);
            }
            death
        }
    };
    registry.fall(&death);
    host::http::break_off(live.store.data_mut());
    Err(death)
}

/// The inside of a store's event loop.
struct Loop<'a> {
    accessor: &'a Accessor<Host>,
    /// Of all that can be called, by place.
    functions: &'a [Option<Function>],
    registry: &'a Arc<Registry>,
    turns: &'a Turns,
    most: usize,
    answered: &'a (dyn Fn(&ComponentId) + Sync),
}

/// A call that was put into the store.
struct Begun {
    id: u64,
    exchange: Exchange,
    kind: Kind,
}

enum Kind {
    Page(PageFunction, page::Request),
    WasiHttp02(WasiHttpFunction, host::http::Params),
    WasiHttp03(WasiHttp03Function, http03::Params, http03::Sent),
}

/// Ready when nobody waits for the pause any more.
async fn given_up(pausing: &mut Option<Pause>) {
    match pausing {
        Some(pause) => pause.given_up().await,
        None => std::future::pending().await,
    }
}

/// What is left of a call after its function has returned.
enum After {
    /// It was one of those that run one at a time.
    NextInLine,
    /// Its guest may still write its body, or do what it likes after it.
    Lingering(Lingering),
    Nothing,
}

pub struct Lingering {
    id: u64,
    exchange: Exchange,
    task: GuestTaskId,
    is_alive: bool,
}

/// What a store's event loop came to.
enum Turned {
    Over,
    /// No guest is at work.
    Paused(Pause),
    /// A guest was late.
    Late,
}

impl Loop<'_> {
    async fn turn(
        &self,
        intake: &mut Option<Intake>,
        lingering: &mut Vec<Lingering>,
        fell: Fell<'_>,
    ) -> wasmtime::Result<Turned> {
        let mut running = FuturesUnordered::new();
        let (mut line_is_free, mut on_time, mut pausing) = (true, true, None);
        loop {
            if on_time && intake.is_none() && running.is_empty() && lingering.is_empty() {
                return Ok(Turned::Over);
            }
            if !on_time && self.registry.only_late() {
                return Ok(Turned::Late);
            }
            let is_quiet = running.is_empty() && lingering.iter().all(|call| !call.is_alive);
            if is_quiet && let Some(pause) = pausing.take() {
                return Ok(Turned::Paused(pause));
            }
            let has_room = pausing.is_none() && running.len() + lingering.len() < self.most;
            tokio::select! {
                biased;
                Some(after) = running.next() => match after? {
                    After::NextInLine => line_is_free = true,
                    After::Lingering(call) => lingering.push(call),
                    After::Nothing => {}
                },
                () = self.some_have_ended(lingering), if !lingering.is_empty() => {}
                () = given_up(&mut pausing), if pausing.is_some() => pausing = None,
                name = self.registry.retire(), if on_time => {
                    (on_time, pausing) = (false, None);
                    fell(name, &Death::TimeOver(self.registry.limit()));
                    *intake = None;
                }
                next = next(intake, line_is_free), if has_room && intake.is_some() => match next {
                    Next::Over => *intake = None,
                    Next::Pause(pause) => pausing = Some(pause),
                    Next::Call(call) if call.reply.is_closed() => {}
                    Next::Call(call) => {
                        line_is_free &= !runs_in_line(&call);
                        running.push(self.run(call));
                    }
                },
            }
        }
    }

    /// Ready when the guest of at least one has finished, or one has gone. It is looked at when the store has
    /// nothing else to do.
    async fn some_have_ended(&self, lingering: &mut Vec<Lingering>) {
        poll_fn(|context| {
            if !self.turns.may_look() {
                return Poll::Pending;
            }
            let before = lingering.len();
            let one_finished = self.note_finished(lingering);
            lingering.retain_mut(|call| {
                let stays = call.exchange.poll_read(context).is_pending() || call.is_alive;
                if !stays {
                    self.registry.end(call.id);
                }
                stays
            });
            if one_finished || lingering.len() < before {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// True where the guest of at least one has finished since this was asked.
    fn note_finished(&self, lingering: &mut [Lingering]) -> bool {
        let mut one_finished = false;
        self.accessor.with(|mut access| {
            let mut store = access.as_context_mut();
            let mut tasks = store.concurrent_resource_table();
            for call in lingering.iter_mut().filter(|call| call.is_alive) {
                let task = number(call.task);
                call.is_alive = tasks
                    .as_mut()
                    .is_some_and(|tasks| tasks.get_any_mut(task).is_ok());
                if !call.is_alive {
                    one_finished = true;
                    self.registry.guest_is_done(call.id);
                }
            }
        });
        one_finished
    }

    /// Runs one call until its function has returned. Errors: a trap, which is the end of the store.
    async fn run(&self, call: Box<Call>) -> wasmtime::Result<After> {
        let in_line = runs_in_line(&call);
        let component = call.name.component.clone();
        let after = match self.begin(call).await? {
            Some(Begun { id, exchange, kind }) => match kind {
                Kind::Page(function, request) => self.page(id, function, request).await?,
                Kind::WasiHttp02(function, params) => {
                    self.wasi_http_02(id, &exchange, function, params).await?
                }
                Kind::WasiHttp03(function, params, sent) => {
                    self.wasi_http_03(id, exchange, function, params, sent).await?
                }
            },
            None => After::Nothing,
        };
        (self.answered)(&component);
        Ok(if in_line { After::NextInLine } else { after })
    }

    /// Puts a request into the store; `None` where that cannot be, which its client was told.
    async fn begin(&self, mut call: Box<Call>) -> wasmtime::Result<Option<Begun>> {
        call.begin();
        let Call {
            name,
            entry,
            params,
            request,
            reply,
            ..
        } = *call;
        let exchange = Exchange::default();
        let calling = self.with_host(|host| host.calling(&name));
        let id = self.registry.begin(name, calling, exchange.clone(), reply);
        let kind = match self.function(&entry)? {
            Function::Page(function) => {
                let (parts, body) = request.into_parts();
                match body.collect().await {
                    Ok(body) => {
                        let request = page::request(&parts, params, &body.to_bytes());
                        Ok(Kind::Page(function, request))
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
            Function::WasiHttp02(function) => {
                // It is answered from here: a guest that blocks keeps this loop from turning.
                let (registry, own) = (self.registry.clone(), exchange.clone());
                let answer = move |answer| registry.answer(id, forward(answer, &own));
                let request = request.map(|body| exchange.upload(body));
                self.with_host(|host| host::http::incoming(host, request, answer))
                    .map(|params| Kind::WasiHttp02(function, params))
                    .map_err(|error| error.to_string())
            }
            Function::WasiHttp03(function) => self
                .with_host(|host| http03::incoming(host, request.map(|body| exchange.upload(body))))
                .map(|(params, sent)| Kind::WasiHttp03(function, params, sent))
                .map_err(|error| error.to_string()),
        };
        match kind {
            Ok(kind) => Ok(Some(Begun { id, exchange, kind })),
            Err(reason) => {
                self.registry.answer(id, Err(RequestError::BadRequest(reason)));
                self.registry.end(id);
                Ok(None)
            }
        }
    }

    async fn page(&self, id: u64, function: PageFunction, request: page::Request) -> wasmtime::Result<After> {
        let (response,) = function.call_concurrent(self.accessor, (request,)).await?;
        let answer = self.with_host(|host| page_answer(response, host));
        self.registry.answer(id, answer);
        self.registry.end(id);
        Ok(After::Nothing)
    }

    async fn wasi_http_02(
        &self,
        id: u64,
        exchange: &Exchange,
        function: WasiHttpFunction,
        params: host::http::Params,
    ) -> wasmtime::Result<After> {
        function.call_concurrent(self.accessor, params).await?;
        exchange.guest_is_over();
        let silent = RequestError::BadResponse("it returned without a response".into());
        self.registry.answer(id, Err(silent));
        self.registry.end(id);
        Ok(After::Nothing)
    }

    async fn wasi_http_03(
        &self,
        id: u64,
        exchange: Exchange,
        function: WasiHttp03Function,
        params: http03::Params,
        sent: http03::Sent,
    ) -> wasmtime::Result<After> {
        let call = self
            .accessor
            .with(|mut access| function.start_call_concurrent(access.as_context_mut(), params))?;
        let task = call.task();
        let (response,) = function.finish_call_concurrent(self.accessor, call).await?;
        let response = match response {
            Ok(response) => self
                .accessor
                .with(|mut access| http03::outgoing(access.as_context_mut(), response, sent, &exchange)),
            // `Debug` escapes the guest's own words.
            Err(code) => Err(format!("it answered with the error {code:?}")),
        };
        match response {
            Ok(response) => self.registry.answer_soon(id, response),
            Err(reason) => {
                exchange.is_read();
                self.registry.answer(id, Err(RequestError::BadResponse(reason)));
            }
        }
        Ok(After::Lingering(Lingering {
            id,
            exchange,
            task,
            is_alive: true,
        }))
    }

    fn with_host<T>(&self, run: impl FnOnce(&mut Host) -> T) -> T {
        self.accessor.with(|mut access| run(access.get()))
    }

    fn function(&self, entry: &Entry) -> wasmtime::Result<Function> {
        let known = self.functions.get(entry.place).copied().flatten();
        known.ok_or_else(|| wasmtime::Error::msg("its handler was not looked up"))
    }
}

/// A task's number in its store, which it gives away by its hash alone: the engine tells when all tasks of
/// a store are over, but not when one is.
fn number(task: GuestTaskId) -> u32 {
    struct Number(u32);
    impl Hasher for Number {
        fn write_u32(&mut self, number: u32) {
            self.0 = number;
        }
        fn write(&mut self, _: &[u8]) {}
        fn finish(&self) -> u64 {
            self.0.into()
        }
    }
    let mut number = Number(0);
    task.hash(&mut number);
    number.0
}
