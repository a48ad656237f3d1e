//! Who decides: one node at a time, by a lease that it renews. It follows what the others say of themselves, so that
//! not all have to. Two that take themselves for the leader do no harm: a decision is a compare-and-swap of the
//! record that it was made of. Pure.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::{
    node::{Deed, Node, Wrote},
    record::{NodeState, Record, Stage},
};

/// Leases after which a node that gives no sign of life is forgotten.
const FORGOTTEN: u32 = 60;

/// What this node said and did not hear again; what is older is not waited for.
const MOST_SAID: usize = 16;

/// Before a lead that nobody has is taken.
const LONGEST_JITTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Lead {
    id: String,
    /// Of the key; 0 where there is none.
    revision: u64,
    /// When the leader last gave a sign of life, as seen from here; `None` where there is no leader.
    seen: Option<Instant>,
    is_read: bool,
    /// Since when the lead is being taken or kept.
    taking: Option<Instant>,
    leading: Option<Leading>,
    /// What others say of themselves is followed.
    follows: bool,
    /// When this node said what of itself, by its number; as far as it has not come back.
    said: BTreeMap<u64, Instant>,
}

#[derive(Debug)]
struct Leading {
    keep_at: Instant,
    since: Instant,
    peers: BTreeMap<String, Peer>,
    /// Who spoke until then was heard: what this node said itself at that time has come back by the same way.
    heard: Instant,
    /// All that others said before is told.
    knows_peers: bool,
    /// The attempt, and since when it is known.
    attempt: Option<(u64, Instant)>,
}

#[derive(Debug)]
struct Peer {
    seen: Instant,
    state: NodeState,
}

impl Lead {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            revision: 0,
            seen: None,
            is_read: false,
            taking: None,
            leading: None,
            follows: false,
            said: BTreeMap::new(),
        }
    }

    pub fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// `id` is empty where nobody leads.
    pub fn read(&mut self, now: Instant, revision: u64, id: &str) {
        let is_new = revision > self.revision || !self.is_read || revision == 0;
        self.is_read = true;
        if !is_new {
            return;
        }
        self.revision = revision;
        self.seen = (!id.is_empty()).then_some(now);
        if id != self.id {
            self.step_down();
        }
    }

    pub fn step_down(&mut self) {
        self.leading = None;
    }

    /// This node says the `beat`th time how it is.
    pub fn said(&mut self, now: Instant, beat: u64) {
        self.said.insert(beat, now);
        while self.said.len() > MOST_SAID {
            self.said.pop_first();
        }
    }

    /// What a node says of itself; this one too, whose signs of life are a `beat` apart.
    pub fn heard(&mut self, now: Instant, beat: Duration, id: String, state: Option<NodeState>) {
        if id == self.id {
            return self.heard_itself(now, beat, state);
        }
        let Some(leading) = &mut self.leading else { return };
        let Some(state) = state else {
            leading.peers.remove(&id);
            return;
        };
        match leading.peers.get_mut(&id) {
            // What is told once more is no sign of life, and what is older is overtaken.
            Some(peer) if peer.state.beat >= state.beat => {}
            Some(peer) => *peer = Peer { seen: now, state },
            None => drop(leading.peers.insert(id, Peer { seen: now, state })),
        }
    }

    /// What is followed comes in order: all that others said before was told.
    fn heard_itself(&mut self, now: Instant, beat: Duration, state: Option<NodeState>) {
        let number = state.map_or(0, |state| state.beat);
        let Some(at) = self.said.remove(&number) else {
            return;
        };
        self.said.retain(|other, _| *other > number);
        let Some(leading) = &mut self.leading else { return };
        let was_deaf = leading.heard + beat * 2 < at;
        leading.heard = leading.heard.max(at);
        if was_deaf {
            self.was_apart(now);
        }
    }

    /// It heard nobody for a while: whoever was silent meanwhile has another lease.
    pub fn was_apart(&mut self, now: Instant) {
        let peers = self
            .leading
            .iter_mut()
            .flat_map(|leading| leading.peers.values_mut());
        peers.for_each(|peer| peer.seen = now);
    }

    pub fn peers_known(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.knows_peers = true;
        }
    }

    pub fn wrote(&mut self, now: Instant, result: Wrote) {
        self.taking = None;
        match result {
            Wrote::Done(revision) => {
                self.revision = self.revision.max(revision);
                self.seen = Some(now);
                self.leading.get_or_insert_with(|| Leading {
                    keep_at: now,
                    since: now,
                    peers: BTreeMap::new(),
                    heard: now,
                    knows_peers: false,
                    attempt: None,
                });
            }
            Wrote::Conflict => {
                self.seen = Some(now);
                self.step_down();
            }
            Wrote::Lost => {}
        }
    }

    /// Not all at once.
    fn jitter(&self, lease: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        self.id.hash(&mut hasher);
        let parts = u32::try_from(hasher.finish() % 64).unwrap_or(0);
        (lease / 10).min(LONGEST_JITTER) / 64 * parts
    }

    /// When to take or keep it.
    fn take_at(&self, lease: Duration, began: Instant) -> Option<Instant> {
        match (&self.leading, self.seen) {
            _ if self.taking.is_some() || !self.is_read => None,
            (Some(leading), _) => Some(leading.keep_at),
            (None, Some(seen)) => Some(seen + lease + self.jitter(lease)),
            (None, None) => Some(began + self.jitter(lease)),
        }
    }
}

impl Leading {
    /// Who lives has spoken within a lease, also where nobody says that all is told.
    fn knows_peers(&self, lease: Duration) -> bool {
        self.knows_peers || self.since + lease <= self.heard
    }

    /// Silence counts as far as whoever leads was in touch for certain, which it was at `contact`, and heard others.
    fn live(&self, contact: Instant, lease: Duration) -> impl Iterator<Item = &NodeState> {
        let until = contact.min(self.heard);
        let live = move |peer: &&Peer| until < peer.seen + lease;
        self.peers.values().filter(live).map(|peer| &peer.state)
    }
}

impl Node {
    /// Takes the lead where nobody has it, keeps it, and decides what can be decided.
    pub(super) fn lead(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        let lease = self.settings.lease;
        let lead = &mut self.lead;
        lead.taking = lead.taking.filter(|since| now < *since + lease);
        self.deciding = self.deciding.filter(|since| now < *since + lease);
        let began = self.began.unwrap_or(now);
        if self.is_in_touch(now) && self.lead.take_at(lease, began).is_some_and(|at| at <= now) {
            let beat = self.beat();
            let lead = &mut self.lead;
            lead.taking = Some(now);
            if let Some(leading) = &mut lead.leading {
                leading.keep_at = now + beat;
                leading
                    .peers
                    .retain(|_, peer| now < peer.seen + lease * FORGOTTEN);
            }
            deeds.push(Deed::TakeLead {
                revision: lead.revision,
            });
        }
        let leads = self.lead.leads();
        if leads != self.lead.follows {
            self.lead.follows = leads;
            deeds.push(Deed::FollowPeers(leads));
        }
        self.note_attempt(now);
        if self.deciding.is_some() {
            return;
        }
        if let Some((revision, record)) = self.decision(now) {
            self.deciding = Some(now);
            deeds.push(Deed::Decide { revision, record });
        }
    }

    fn note_attempt(&mut self, now: Instant) {
        let Some(leading) = &mut self.lead.leading else {
            return;
        };
        let wanted = self.known.as_ref().and_then(|(_, record)| record.wanted.as_ref());
        let known = leading.attempt.map(|(attempt, _)| attempt);
        if wanted.map(|wanted| wanted.attempt) != known {
            leading.attempt = wanted.map(|wanted| (wanted.attempt, now));
        }
    }

    fn decision(&self, now: Instant) -> Option<(u64, Record)> {
        let lease = self.settings.lease;
        let leading = self.lead.leading.as_ref();
        let leading = leading.filter(|leading| leading.knows_peers(lease))?;
        let (revision, record) = self.known.as_ref()?;
        let next = self.answer_fault(leading, record);
        let next = next.or_else(|| self.answer_attempt(now, leading, record));
        next.map(|next| (*revision, next))
    }

    /// All that is said, also by those who have fallen silent since.
    fn voices<'a>(&'a self, leading: &'a Leading) -> impl Iterator<Item = &'a NodeState> {
        let peers = leading.peers.values().map(|peer| &peer.state);
        peers.chain(std::iter::once(&self.state))
    }

    fn answer_fault(&self, leading: &Leading, record: &Record) -> Option<Record> {
        if record.is_reverted() {
            return None;
        }
        self.voices(leading).find_map(|state| {
            let fault = state.fault.as_ref();
            let fault = fault.filter(|fault| fault.after_all && fault.number == record.number)?;
            record.revert(&state.name, fault.diagnostics.clone())
        })
    }

    fn answer_attempt(&self, now: Instant, leading: &Leading, record: &Record) -> Option<Record> {
        let attempt = record.wanted.as_ref()?.attempt;
        let of_attempt = |state: &&NodeState| state.attempt == attempt;
        let refusal = self
            .voices(leading)
            .filter(of_attempt)
            .find_map(|state| match &state.stage {
                Stage::Refused(diagnostics) => record.refuse(&state.name, diagnostics.clone()),
                _ => None,
            });
        if refusal.is_some() {
            return refusal;
        }
        let live = || {
            leading
                .live(self.contact.unwrap_or(now), self.settings.lease)
                .chain(std::iter::once(&self.state))
        };
        let ready = live()
            .filter(of_attempt)
            .filter(|state| state.stage == Stage::Ready);
        let (ready, live) = (ready.count(), live().count());
        let (_, since) = leading.attempt?;
        let is_late = since + self.settings.patience <= now;
        let will_do = self
            .settings
            .quorum
            .is_some_and(|quorum| is_late && ready >= quorum.max(1));
        let served = self.voices(leading).map(|state| state.number).max().unwrap_or(0);
        (ready == live || will_do).then(|| record.commit(served))?
    }

    /// When something may be decided, or is to be tried once more, though nothing happens.
    pub(super) fn decide_at(&self) -> Option<Instant> {
        let lease = self.settings.lease;
        let is_in_touch = self.stepped.is_some_and(|stepped| self.is_in_touch(stepped));
        let take = self.lead.take_at(lease, self.began?).filter(|_| is_in_touch);
        let tries = self
            .deciding
            .into_iter()
            .chain(self.lead.taking)
            .map(|since| since + lease);
        let leading = self
            .lead
            .leading
            .as_ref()
            .filter(|leading| leading.attempt.is_some());
        let silent = leading.into_iter().flat_map(|leading| {
            let late = leading.attempt.filter(|_| self.settings.quorum.is_some());
            let late = late.map(|(_, since)| since + self.settings.patience);
            let peers = leading.peers.values().map(move |peer| peer.seen + lease);
            peers.chain(late)
        });
        // What is over already has been weighed.
        let silent = silent.filter(|at| self.stepped.is_none_or(|stepped| *at > stepped));
        tries.chain(silent).chain(take).min()
    }
}
