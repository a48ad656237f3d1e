//! Releases that are prepared first and committed when that is asked for: a whole tree or nothing of it. Who asks
//! knows when all others are ready too.

use super::{Built, Reloader, control::Input, look::Group as SeenGroup};
use crate::{
    clock,
    diagnostic::Diagnostic,
    orders::{Order, Reply, Uncommitted},
};

/// What is being prepared, or is.
pub struct Staged {
    /// The request of `control` that ends with it.
    request: u64,
    preparing: Option<Reply<Result<(), Vec<Diagnostic>>>>,
    committing: Option<Reply<Result<(), Uncommitted>>>,
    /// Why something of it is refused.
    reasons: Vec<Diagnostic>,
    is_ready: bool,
    /// There is nothing to commit but that groups are gone.
    is_answered: bool,
}

impl Reloader {
    /// Commits nothing by itself from here on, and starts with a whole release or not at all, where it has to be
    /// `whole`.
    pub fn hold(&mut self, whole: bool) {
        self.control.hold();
        self.whole = whole;
    }

    /// Orders that a fleet gives. What else would change what serves is refused.
    pub(super) fn take_fleet_order(&mut self, order: Order) -> Result<Input, Order> {
        let member = || {
            let message = "this server serves what its fleet has committed, and nothing else";
            let help = "see `wasmhost fleet release` and `wasmhost fleet rollback`";
            vec![Diagnostic::new("fleet-member", message).help(help)]
        };
        // Whoever asked may be gone.
        match order {
            Order::Prepare(reply) => return Ok(self.stage(reply)),
            Order::Commit(reply) => self.commit_staged(reply),
            Order::GiveUp(reply) => {
                self.give_up_staged();
                let _ = reply.send(());
            }
            Order::Swap { reply, .. } if self.control.holds() => drop(reply.send(Err(member()))),
            Order::RollBack { reply, .. } if self.control.holds() => drop(reply.send(Err(member()))),
            Order::Pin { reply, .. } if self.control.holds() => drop(reply.send(Err(member()))),
            other => return Err(other),
        }
        Ok(Input::Woken)
    }

    fn stage(&mut self, reply: Reply<Result<(), Vec<Diagnostic>>>) -> Input {
        self.give_up_staged();
        // Whoever wants a release again wants it judged again.
        self.control.forget();
        self.refused.clear();
        let pinned = self.serving.pinned();
        let reasons = pinned.map(|group| {
            let message = format!("{group} is pinned, so no other release can be served");
            Diagnostic::new("group-pinned", message).help(format!("first `wasmhost unpin {group}`"))
        });
        let reasons = reasons.collect();
        self.asked += 1;
        let request = self.asked;
        self.staged = Some(Staged {
            request,
            preparing: Some(reply),
            committing: None,
            reasons,
            is_ready: false,
            is_answered: false,
        });
        Input::Asked { request, group: None }
    }

    /// All is built: ready, or refused as a whole.
    pub(super) fn held(&mut self) {
        let refused = self.built.iter().flat_map(|built| &built.outcomes);
        let refused = refused.filter_map(|outcome| outcome.as_ref().err());
        let reasons: Vec<_> = refused.flat_map(|(_, reasons)| reasons.clone()).collect();
        let Some(staged) = &mut self.staged else { return };
        staged.reasons.extend(reasons);
        if staged.reasons.is_empty() {
            staged.is_ready = true;
            let preparing = staged.preparing.take();
            preparing.map(|reply| reply.send(Ok(())));
            return;
        }
        let Built { outcomes, .. } = match self.built.take() {
            Some(built) => built,
            None => return,
        };
        let refused = outcomes.into_iter().filter_map(Result::err);
        refused.for_each(|refused| self.serving.reject(refused));
        self.give_up_staged();
    }

    /// What lies there is not even built.
    pub(super) fn note_refusal(&mut self, name: Option<&str>) {
        let Some(staged) = &mut self.staged else { return };
        let reasons = match (self.seen.as_ref().map(|seen| &seen.tree), name) {
            (Some(Err(reasons)), None) => reasons,
            (Some(Ok(tree)), Some(name)) => match tree.groups.get(name) {
                Some(SeenGroup::Unreadable((_, reasons))) => reasons,
                Some(SeenGroup::Refusal(refusal)) => &refusal.diagnostics,
                _ => return,
            },
            _ => return,
        };
        staged.reasons.extend_from_slice(reasons);
    }

    /// The build is given up for something else: it is built anew.
    pub(super) fn unready(&mut self) {
        if let Some(staged) = &mut self.staged {
            staged.is_ready = false;
        }
    }

    /// `control` has nothing left to do for these requests.
    pub(super) fn answer_staged(&mut self, requests: &[u64]) {
        let Some(staged) = &mut self.staged else { return };
        if !requests.contains(&staged.request) {
            return;
        }
        if let Some(reply) = staged.committing.take() {
            let reasons = std::mem::take(&mut staged.reasons);
            let _ = reply.send(match reasons.is_empty() {
                true => Ok(()),
                false => Err(Uncommitted::Refused(reasons)),
            });
            self.staged = None;
        } else if let Some(reply) = staged.preparing.take() {
            let reasons = std::mem::take(&mut staged.reasons);
            if reasons.is_empty() {
                (staged.is_ready, staged.is_answered) = (true, true);
                let _ = reply.send(Ok(()));
            } else {
                let _ = reply.send(Err(reasons));
                self.staged = None;
            }
        }
    }

    fn commit_staged(&mut self, reply: Reply<Result<(), Uncommitted>>) {
        let Some(staged) = self.staged.as_mut().filter(|staged| staged.is_ready) else {
            let _ = reply.send(Err(Uncommitted::Lost));
            return;
        };
        if staged.is_answered {
            self.staged = None;
            self.step(clock::now(), Input::LetGo);
            let _ = reply.send(Ok(()));
        } else {
            staged.committing = Some(reply);
            self.step(clock::now(), Input::LetGo);
        }
    }

    /// Why something of what is committed cannot be, after all.
    pub(super) fn note_uncommitted<'a>(&mut self, reasons: impl Iterator<Item = &'a Diagnostic>) {
        if let Some(staged) = &mut self.staged {
            staged.reasons.extend(reasons.cloned());
        }
    }

    fn give_up_staged(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        if let Some(reply) = staged.preparing {
            let _ = reply.send(Err(staged.reasons));
        }
        self.step(clock::now(), Input::GiveUp);
    }
}
