//! Long-lived state with one owner each.

pub(crate) mod action_dispatcher;
pub(crate) mod checkin_writer;
pub(crate) mod collector;
pub(crate) mod feed;
pub(crate) mod health_monitor;
pub(crate) mod pacer;
pub(crate) mod policy_monitor;
pub(crate) mod supervise;
#[cfg(test)]
mod tests;
