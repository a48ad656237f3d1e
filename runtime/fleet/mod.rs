//! A fleet: servers that serve one release, and swap to the next as one. `node` and `lead` decide, `record` is what
//! they share, `nats` carries it, `member` does what was decided on one server, `steer` is the operator's side.
//!
//! ```text
//!  NATS ──Record, Lead, Peer──▶ node ──Prepare──▶ release, reload ──Prepared──▶ node ──Write──▶ NATS
//!                                    ──Publish─▶ reload ──Published──────────▶
//! ```

mod address;
mod deeds;
mod join;
pub mod lead;
mod member;
mod nats;
pub mod node;
pub mod record;
mod steer;

pub use address::FleetAddress;
pub use join::{Member, join};
pub use steer::{Fleet, Listed, Outcome, Overview};
