//! The real node, and ways to spoil what goes into it or comes out of it: bugs that the simulation has to find.

use std::time::Instant;

use wasmhost::fleet::{
    node::{Deed, Input, Node, Outcome, What, Wrote},
    record::Stage,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A decision is written whatever was decided meanwhile.
    OverwritesDecisions,
    /// Publishes a commit as soon as it is read.
    PublishesUnprepared,
    /// Publishes what is ready, commit or not.
    PublishesEarly,
    /// Commits what it has ready itself, whatever the others have.
    CountsItselfAlone,
    /// Takes what others said of an earlier attempt for said of this.
    CountsOldReadiness,
    /// Takes who refused for ready.
    PassesOverRefusals,
    /// Takes itself for told of others whenever it is in touch.
    TakesSilenceForAbsence,
    /// Relies on what it is told, and never looks.
    NeverReads,
    /// What could not be had once is not tried again.
    NeverTriesAgain,
}

pub struct Steered {
    pub node: Node,
    mutant: Option<Mutant>,
    prepared: Option<String>,
    preparing: Option<String>,
    failed: bool,
}

impl Steered {
    pub fn new(node: Node, mutant: Option<Mutant>) -> Self {
        Self {
            node,
            mutant,
            prepared: None,
            preparing: None,
            failed: false,
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.node.wake_at()
    }

    pub fn step(&mut self, now: Instant, mut input: Input) -> Vec<Deed> {
        let mut early = Vec::new();
        match (self.mutant, &mut input) {
            (Some(Mutant::CountsItselfAlone), Input::Peer { id, .. }) if *id != self.node.id => {
                input = Input::Woken;
            }
            (
                Some(Mutant::CountsOldReadiness),
                Input::Peer {
                    state: Some(state), ..
                },
            ) if state.stage == Stage::Ready => {
                let wanted = self.node.record().and_then(|(_, record)| record.wanted.as_ref());
                state.attempt = wanted.map_or(state.attempt, |wanted| wanted.attempt);
            }
            (
                Some(Mutant::PassesOverRefusals),
                Input::Peer {
                    state: Some(state), ..
                },
            ) if matches!(state.stage, Stage::Refused(_)) => state.stage = Stage::Ready,
            (
                Some(Mutant::TakesSilenceForAbsence),
                Input::Wrote {
                    what: What::State,
                    result: Wrote::Done(_),
                },
            ) => {
                let (id, state) = (self.node.id.clone(), Some(self.node.state().clone()));
                early = self.node.step(now, Input::Peer { id, state });
            }
            (Some(Mutant::NeverTriesAgain), Input::Prepared { outcome, .. }) => {
                self.failed |= matches!(outcome, Outcome::Failed(_));
            }
            _ => {}
        }
        if let Input::Prepared {
            outcome: Outcome::Ready,
            ..
        } = &input
        {
            self.prepared = self.preparing.take();
        }
        let mut deeds = early;
        deeds.extend(self.node.step(now, input));
        for deed in &deeds {
            if let Deed::Prepare { release, .. } = deed {
                self.preparing = Some(release.clone());
                self.prepared = None;
            }
        }
        match self.mutant {
            Some(Mutant::PublishesUnprepared) => {
                let commit = self
                    .node
                    .record()
                    .and_then(|(_, record)| Some((record.number, record.committed.clone()?)));
                if let Some((number, release)) = commit {
                    let is_prepare = |deed: &Deed| matches!(deed, Deed::Prepare { release: other, .. } if *other == release);
                    if deeds.iter().any(is_prepare) {
                        deeds.push(Deed::Publish { number, release });
                    }
                }
            }
            Some(Mutant::PublishesEarly) => {
                if let Some(release) = self.prepared.take() {
                    let number = self.node.record().map_or(0, |(_, record)| record.number + 1);
                    deeds.push(Deed::Publish { number, release });
                }
            }
            Some(Mutant::NeverReads) => deeds.retain(|deed| *deed != Deed::Read),
            Some(Mutant::NeverTriesAgain) if self.failed => {
                deeds.retain(|deed| !matches!(deed, Deed::Prepare { .. }));
            }
            _ => {}
        }
        deeds
    }
}
