//! A generation's one store while it answers nobody: calls wait for it as they wait for another call.
//! Who holds it asks the store for its state, or gives it one; what follows is decided elsewhere.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Failure, GenerationId, Snapshots, call::Live, gate::Gate, lifecycle::Terms, setting::Setting};

/// Dropped, the store goes on where it was.
pub struct Paused {
    id: GenerationId,
    /// `None` where the generation has no store at all.
    orders: Option<mpsc::Sender<Order>>,
    gate: Arc<Gate>,
}

/// What a paused store is asked for.
pub enum Order {
    Save(oneshot::Sender<Result<Arc<Snapshots>, Failure>>),
    Begin(Arc<Snapshots>, oneshot::Sender<Result<(), Failure>>),
}

/// The pause of a store: who ordered it is told when it begins, and it lasts as long as there may be orders.
pub struct Pause {
    pub begun: oneshot::Sender<()>,
    pub orders: mpsc::Receiver<Order>,
}

impl Pause {
    /// Ready when whoever ordered it wants it no longer.
    pub async fn given_up(&mut self) {
        self.begun.closed().await;
    }
}

impl Paused {
    /// Of a generation, and the pause that its store has to make for it.
    pub fn new(id: GenerationId, gate: Arc<Gate>) -> (Self, Pause, oneshot::Receiver<()>) {
        let (sender, orders) = mpsc::channel(1);
        let (begun, begins) = oneshot::channel();
        let paused = Self {
            id,
            orders: Some(sender),
            gate,
        };
        (paused, Pause { begun, orders }, begins)
    }

    /// Of a generation without a store.
    pub fn nothing(id: GenerationId, gate: Arc<Gate>) -> Self {
        Self {
            id,
            orders: None,
            gate,
        }
    }

    pub fn id(&self) -> &GenerationId {
        &self.id
    }

    /// What the store hands over; where it died before, the newest that is known of it.
    /// Errors: a component that fails. `None`: the store is gone.
    pub async fn save(&self) -> Option<Result<Arc<Snapshots>, Failure>> {
        self.ask(Order::Save).await
    }

    /// Gives a store that has not served what it is to begin with, and has it start.
    /// Errors: a component that fails. `None`: the store is gone.
    pub async fn begin(&self, snapshots: Arc<Snapshots>) -> Option<Result<(), Failure>> {
        self.ask(|reply| Order::Begin(snapshots, reply)).await
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.as_ref()?.send(order(reply)).await.ok()?;
        answer.await.ok()
    }

    /// The group has moved on: what waits for the store is led to the newer generation.
    pub fn end(self) {
        self.gate.end();
    }
}

/// Carries out what is asked of a paused store, until nobody can ask. A store that dies is taken away, and
/// it is told why.
pub async fn attend(live: &mut Option<Live>, setting: &Setting, pause: Pause) {
    let Pause { begun, mut orders } = pause;
    if begun.send(()).is_err() {
        return;
    }
    while let Some(order) = orders.recv().await {
        // Whoever asked may have given up.
        match order {
            Order::Save(reply) => drop(reply.send(save(live, setting).await)),
            Order::Begin(snapshots, reply) => drop(reply.send(begin(live, setting, snapshots).await)),
        }
    }
}

async fn save(live: &mut Option<Live>, setting: &Setting) -> Result<Arc<Snapshots>, Failure> {
    let Some(store) = live else {
        return Ok(setting.memory.newest().unwrap_or_default());
    };
    let terms = Terms::new(&setting.limits, &setting.end);
    let saved = store.save(&terms).await;
    if let Err(failure) = &saved
        && failure.is_fatal()
    {
        *live = None;
        setting.report_failure(failure);
    }
    saved.map(|snapshots| setting.memory.keep(snapshots))
}

async fn begin(live: &mut Option<Live>, setting: &Setting, snapshots: Arc<Snapshots>) -> Result<(), Failure> {
    let Some(store) = live else {
        return Ok(());
    };
    setting.say_what_is_fresh(store, &snapshots);
    setting.memory.keep_shared(snapshots);
    let begun = setting.begin_first(store).await;
    if begun.is_err() {
        // It never serves: no other store takes over.
        *live = None;
        setting.end.cancel();
    }
    begun
}
