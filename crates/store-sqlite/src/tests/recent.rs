//! What is kept of recent readings: never another answer than SQLite's, whatever changed it, and not for long.

use std::sync::Arc;

use proptest::prelude::*;
use store::{
    ActionDocId, ActionId, Actions as _, Agent, AgentId, Agents as _, ApiKey, AuditMark, CheckinRecord,
    Enrollment, EnrollmentId, KeyOwner, Keys as _, PolicyId, Position, Timestamp, UpgradeChange, UpgradeEnd,
    Verification,
    conformance::{new_action, new_agent, new_policy, recall},
};

use super::Directory;
use crate::{SqliteStore, actions, agents, keys};
