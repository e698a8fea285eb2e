//! `agents reassign`, `upgrade` and `unenroll`, and actions in general: one agent after the other where the API has no
//! route for many. A fault of one agent does not keep the others from theirs.

use serde_json::{Value, json};

use super::targets::Targets;
use crate::{
    fault::Fault,
    output::{Output, text},
    server::{Api, segment},
};

/// All of them, or none.
pub(super) fn reassign(
    targets: &Targets,
    (policy, name): (&str, &str),
    api: &Api<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let body = json!({"agents": targets.body(), "policy_id": policy});
    let answer = api.post("/api/fleet/agents/bulk_reassign", &body)?;
    Ok(out.line(&format!(
        "{} agents have the policy {name}",
        text(&answer["agents"])
    ))?)
}

pub(super) fn unenroll(
    targets: Targets,
    force: bool,
    api: &Api<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let body = json!({"force": force, "revoke": force});
    each(targets, "unenrolled", api, out, |agent| {
        api.post(&format!("/api/fleet/agents/{}/unenroll", segment(agent)), &body)?;
        Ok(match force {
            true => "is unenrolled".to_owned(),
            false => "is asked to unenrol".to_owned(),
        })
    })
}

/// Posts the action to each of them.
pub(crate) fn act(
    targets: Targets,
    action: &Value,
    done: &'static str,
    api: &Api<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let body = json!({"action": action});
    each(targets, done, api, out, |agent| {
        let answer = api.post(&format!("/api/fleet/agents/{}/actions", segment(agent)), &body)?;
        Ok(format!("action {}", text(&answer["item"]["id"])))
    })
}

fn each(
    targets: Targets,
    done: &'static str,
    api: &Api<'_>,
    out: &mut Output<'_>,
    deed: impl Fn(&str) -> Result<String, Fault>,
) -> Result<(), Fault> {
    let agents = targets.ids(api)?;
    let (all, mut failed, mut only) = (agents.len(), 0, None);
    for agent in &agents {
        match deed(agent) {
            Ok(told) => out.line(&format!("{agent} {told}"))?,
            // Nobody answers: the others would not fare better.
            Err(fault @ (Fault::Unreachable(_) | Fault::Output(_))) => return Err(fault),
            Err(fault) if all == 1 => only = Some(fault),
            Err(fault) => {
                failed += 1;
                out.line(&format!("{agent} failed: {fault}"))?;
            }
        }
    }
    match only {
        Some(fault) => Err(fault),
        None if failed > 0 => Err(Fault::Partly { failed, all, done }),
        None => Ok(()),
    }
}
