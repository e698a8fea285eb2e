//! Parsers of the notations that operators and agents write: YAML to a tree with lines ([`yaml`]),
//! durations ([`duration`]) and sizes ([`size`]); and text made fit for a terminal ([`terminal`]).
//!
//! Text goes in, plain values come out. Nothing here knows a configuration key, a policy or a request, opens a file
//! or imports another crate of this workspace.

pub mod duration;
pub mod size;
pub mod terminal;
pub mod yaml;
