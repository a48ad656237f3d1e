//! Releases: a tree as an artifact of an OCI registry, pushed and pulled as a whole. A pulled release is a
//! tree like any other, made beside the one that serves and put in its place in one step; what is
//! served of it is the control plane's to decide.
//!
//! ```text
//!   ROOT ──gather──▶ Release, Files ──push──▶ registry ──pull──▶ Store ──switch──▶ STATE/release/current
//! ```

mod artifact;
mod component;
pub mod components;
mod credentials;
mod error;
mod follow;
mod gather;
mod pull;
mod push;
mod registry;
mod source;
mod store;

pub use follow::{Follower, start};
pub use oci_client::Reference;
pub use push::{Pushed, push};
pub use registry::reference;
pub use source::{Source, digest};
