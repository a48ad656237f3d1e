//! What a tree consists of and what is wrong with it, without serving it: `wasmhost check`, `graph` and
//! `inspect`. Reads and prepares as the server does; returns data and diagnostics, prints nothing.
//!
//! `surface` is what components ask for and offer; `check`, `against` and `drawing` are made from it.

pub mod against;
pub mod check;
pub mod drawing;
pub mod inspect;
mod routes;
mod sound;
pub mod state;
mod surface;

pub use self::{
    against::Comparison,
    check::{GroupReport, Report, check},
    inspect::{Inspection, inspect},
    state::Fate,
    surface::{GroupSurface, Member, Surface},
};
