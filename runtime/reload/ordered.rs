//! What the control task is told from outside: hints, requests that ask, and operators' orders. Decides nothing
//! but who is not heard while the server is frozen.

use tokio::sync::oneshot;

use super::{Reloader, back::Back, control::Input};
use crate::{
    clock,
    diagnostic::Diagnostic,
    orders::{NoWatch, Order, Reply, RolledBack, Running},
    status::Ask,
};

impl Reloader {
    /// Something may have changed. Frozen, that is looked at once the server is thawed.
    pub(super) fn hint(&self) -> Input {
        if self.control.is_frozen() {
            Input::Woken
        } else {
            Input::Hint
        }
    }

    /// Frozen, no request waits for a change.
    pub(super) fn ask(&mut self, Ask { group, reply }: Ask) -> Input {
        if self.control.is_frozen() {
            // Its client may be gone.
            let _ = reply.send(());
            return Input::Woken;
        }
        self.asked(group, reply)
    }

    pub(super) fn asked(&mut self, group: Option<String>, reply: oneshot::Sender<()>) -> Input {
        self.asked += 1;
        self.asking.insert(self.asked, reply);
        let request = self.asked;
        Input::Asked { request, group }
    }

    pub(super) fn take_order(&mut self, order: Order) -> Input {
        let order = match self.take_fleet_order(order) {
            Ok(input) => return input,
            Err(order) => order,
        };
        match order {
            Order::Swap { group, reply } => self.swap(group, reply),
            Order::RollBack { group, to, reply } => self.order_back(group, to, reply),
            Order::Pin { group, pinned, reply } => self.pin(group, pinned, reply),
            Order::Status(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(Running {
                    frozen: self.control.is_frozen(),
                    groups: self.serving.status(),
                });
                Input::Woken
            }
            // Taken already.
            Order::Prepare(_) | Order::Commit(_) | Order::GiveUp(_) => Input::Woken,
            Order::Freeze { frozen, reply } => {
                let done = self.freeze(frozen);
                let input = match done {
                    // Whatever changed meanwhile.
                    Ok(()) if !frozen => Input::Hint,
                    _ => Input::Woken,
                };
                let _ = reply.send(done);
                input
            }
        }
    }

    /// What was taken back is taken once more: someone wants it.
    fn swap(&mut self, group: Option<String>, reply: Reply<Result<(), Vec<Diagnostic>>>) -> Input {
        if let Some(group) = &group
            && self.serving.standing(group).pinned
        {
            let message = format!("{group} is pinned: what serves stays");
            let help = format!("first `wasmhost unpin {group}`");
            // Whoever asked may be gone.
            let _ = reply.send(Err(vec![Diagnostic::new("group-pinned", message).help(help)]));
            return Input::Woken;
        }
        self.control.forgive(group.as_deref());
        let (done, answer) = oneshot::channel();
        tokio::spawn(async move {
            if answer.await.is_ok() {
                let _ = reply.send(Ok(()));
            }
        });
        self.asked(group, done)
    }

    fn order_back(
        &mut self,
        group: String,
        to: Option<String>,
        reply: Reply<Result<RolledBack, Vec<Diagnostic>>>,
    ) -> Input {
        if let Some(Back::RollBack { .. }) = self.backs.get(&group) {
            let message = format!("{group} is being rolled back already");
            let _ = reply.send(Err(vec![Diagnostic::new("rollback-twice", message)]));
            return Input::Woken;
        }
        let since = clock::now();
        self.backs
            .insert(group.clone(), Back::RollBack { to, reply, since });
        Input::GoBack { group }
    }

    fn pin(&mut self, group: String, pinned: bool, reply: Reply<Result<(), Vec<Diagnostic>>>) -> Input {
        let is_known = match pinned {
            true => self.serving.running(&group).is_some(),
            false => self.serving.knows(&group),
        };
        if !is_known {
            let message = format!("nothing serves for a group {group}");
            let help = format!("groups that serve are: {}", self.serving.names().join(", "));
            let diagnostic = Diagnostic::new("group-unknown", message).help(help);
            let _ = reply.send(Err(vec![diagnostic]));
            return Input::Woken;
        }
        self.serving.pin(&group, pinned);
        let _ = reply.send(Ok(()));
        Input::Pin { group, pinned }
    }

    pub(super) fn freeze(&mut self, frozen: bool) -> Result<(), NoWatch> {
        match (frozen, self.follows) {
            (true, _) => self.control.freeze(),
            (false, true) => self.control.thaw(),
            (false, false) => return Err(NoWatch),
        }
        Ok(())
    }
}
