//! What the control task is told from outside: hints, requests that ask, and operators' orders. Decides nothing
//! but who is not heard while the server is frozen.

use tokio::sync::oneshot;

use super::{Reloader, control::Input};
use crate::{
    orders::{NoWatch, Order, Running},
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
        match order {
            Order::Swap { group, reply } => self.asked(group, reply),
            Order::Status(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(Running {
                    frozen: self.control.is_frozen(),
                    groups: self.serving.status(),
                });
                Input::Woken
            }
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

    pub(super) fn freeze(&mut self, frozen: bool) -> Result<(), NoWatch> {
        match (frozen, self.follows) {
            (true, _) => self.control.freeze(),
            (false, true) => self.control.thaw(),
            (false, false) => return Err(NoWatch),
        }
        Ok(())
    }
}
