//! Carries the way back of a group out: to the generation before, where a probation failed, or to any content
//! that is kept, where an operator wants it. In a task beside the control task; what serves goes on meanwhile.

use std::{future::ready, io, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{
    Outcome, Reloader, Wanted,
    control::{Input, State},
    group::Standby,
    handover, look,
    preparation::Preparation,
    serving::{Candidate, Instead},
};
use crate::{
    diagnostic::Diagnostic,
    generation::{GenerationId, Observer, Verdict, load},
    kept::{Folder, Withdrawn},
    orders::{Reply, RolledBack},
    prepare::{self, Succession},
    project::{Digest, GroupSpec},
    status::Stages,
};

/// Why a group goes back.
pub enum Back {
    /// This generation failed its probation.
    Revert { failed: u64, reason: String },
    /// An operator wants it: by a generation's number, or the beginning of a digest.
    RollBack {
        to: Option<String>,
        reply: Reply<Result<RolledBack, Vec<Diagnostic>>>,
        /// When it was ordered.
        since: Instant,
    },
}

/// What it came to.
pub struct WentBack {
    group: String,
    /// `None` where there was nothing left to do.
    back: Option<Back>,
    outcome: Result<Candidate, Vec<Diagnostic>>,
}

impl Reloader {
    /// The probation of a generation is over.
    pub(super) fn judged(&mut self, id: &GenerationId, verdict: Verdict) -> Input {
        match verdict {
            Verdict::Proven => {
                tracing::info!(generation = %id, "its probation is over: it stays");
                self.serving.forget_standby(id);
                Input::Woken
            }
            Verdict::Failed { traps, requests } => {
                let reason = format!("{traps} of its first {requests} requests trapped");
                let failed = id.number;
                let group = id.group.to_string();
                // What an operator wants comes first.
                self.backs
                    .entry(group.clone())
                    .or_insert(Back::Revert { failed, reason });
                Input::GoBack { group }
            }
        }
    }

    pub(super) fn go_back(&mut self, group: String) {
        match self.backs.remove(&group) {
            Some(Back::Revert { failed, reason }) => self.revert(group, failed, reason),
            Some(Back::RollBack { to, reply, since }) => {
                let content = self.serving.choose(&group, to.as_deref());
                let back = Back::RollBack { to, reply, since };
                match content {
                    Ok(content) => self.roll_back(group, content, back),
                    Err(reason) => self.stay(group, Some(back), vec![reason]),
                }
            }
            None => self.stay(group, None, Vec::new()),
        }
    }

    /// Nothing comes of it.
    fn stay(&mut self, group: String, back: Option<Back>, reasons: Vec<Diagnostic>) {
        let outcome = Err(reasons);
        self.going_back.spawn(ready(WentBack { group, back, outcome }));
    }

    /// Starts what served before once more, as it was compiled, with the state that it handed over.
    fn revert(&mut self, group: String, failed: u64, reason: String) {
        let standby = self.serving.standby(&group, failed);
        let back = Back::Revert { failed, reason };
        let Some(standby) = standby else {
            // Another generation has taken its place.
            return self.stay(group, None, Vec::new());
        };
        let number = self.serving.next_number(&group);
        let observer = self.serving.observer();
        let withdrawn = Withdrawn::of(self.serving.content(&group));
        self.going_back.spawn(async move {
            let outcome = revive(standby, withdrawn, number, observer).await;
            WentBack {
                group,
                back: Some(back),
                outcome: outcome.map_err(|(_, reasons)| reasons),
            }
        });
    }

    /// Builds a kept content, and has what serves hand over to it.
    fn roll_back(&mut self, group: String, content: Digest, back: Back) {
        let folder = self.serving.kept();
        let old = self.serving.running(&group).cloned();
        let succession = Succession {
            on_probation: false,
            ..self.serving.succession(&group)
        };
        let (builder, observer) = (self.builder.clone(), self.serving.observer());
        let exports = Arc::new(self.serving.exports());
        // Where it went back before, that is what lies on disk.
        let withdrawn = self.serving.standing(&group).withdrawn;
        let withdrawn = withdrawn.unwrap_or_else(|| Withdrawn::of(self.serving.content(&group)));
        self.going_back.spawn(async move {
            let outcome = async {
                let spec = read_kept(folder.clone(), group.clone(), content).await?;
                let preparation = Preparation {
                    builder,
                    wanted: Wanted::Unread(spec),
                    succession,
                    observer,
                    kept: folder,
                    stages: Stages::default(),
                };
                let prepared = preparation.prepare(exports, CancellationToken::new()).await;
                let outcome = match prepared {
                    Ok(candidate) if candidate.prepared.inherits => handover::take_over(candidate, old).await,
                    outcome => outcome,
                };
                let mut candidate = outcome.map_err(|(_, reasons)| reasons)?;
                candidate.instead = Some(Instead {
                    withdrawn,
                    is_bad: false,
                });
                Ok(candidate)
            };
            let outcome = outcome.await;
            WentBack {
                group,
                back: Some(back),
                outcome,
            }
        });
    }

    pub(super) fn went_back(&mut self, went: Result<WentBack, tokio::task::JoinError>) -> Input {
        let WentBack { group, back, outcome } = match went {
            Ok(went) => went,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Input::Woken,
        };
        let content = match outcome {
            Ok(candidate) => {
                let content = look::sight(&candidate.prepared.spec, State::Whole);
                match back {
                    Some(Back::Revert { failed, reason }) => self.serving.revert(candidate, failed, reason),
                    Some(Back::RollBack { reply, since, .. }) => {
                        let done = self.serving.roll_back(candidate, since);
                        // Whoever asked may be gone.
                        let _ = reply.send(Ok(done));
                    }
                    None => {}
                }
                Some(content)
            }
            Err(reasons) => {
                self.serving.go_on(&group);
                match back {
                    Some(Back::Revert { failed, .. }) => {
                        for reason in reasons {
                            tracing::error!(
                                "{group}@{failed} trapped on probation and goes on, for what served before cannot: \
                                 {reason}"
                            );
                        }
                    }
                    Some(Back::RollBack { reply, .. }) => drop(reply.send(Err(reasons))),
                    None => {}
                }
                None
            }
        };
        Input::WentBack { group, content }
    }
}

/// Starts a generation that was replaced once more, and gives it what it handed over then.
async fn revive(standby: Standby, withdrawn: Withdrawn, number: u64, observer: Observer) -> Outcome {
    let Standby {
        built,
        expected,
        snapshots,
    } = standby;
    let succession = Succession {
        number,
        inherits: snapshots.is_some(),
        begins_with: None,
        on_probation: false,
    };
    let spec = built.spec.clone();
    let prepared = prepare::start(built, succession, observer).await?;
    if prepared.inherits {
        let loaded = load(&prepared.generation, snapshots.unwrap_or_default()).await;
        loaded.map_err(|unwilling| {
            let diagnostic = unwilling.diagnostic(&spec.name);
            (spec, vec![diagnostic])
        })?;
    }
    Ok(Candidate {
        prepared,
        stages: Stages::default(),
        expected,
        held: None,
        snapshots: None,
        instead: Some(Instead {
            withdrawn,
            is_bad: true,
        }),
    })
}

/// A kept content with its bytes. Errors: it cannot be read any more.
async fn read_kept(
    folder: Arc<Folder>,
    group: String,
    content: Digest,
) -> Result<GroupSpec, Vec<Diagnostic>> {
    let name = group.clone();
    let read = tokio::task::spawn_blocking(move || folder.kept.content(&name, content));
    let read = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map_err(|error| {
        let message =
            format!("the content {content} of {group} cannot be read from where it is kept: {error}");
        vec![Diagnostic::new("kept-unreadable", message)]
    })
}
