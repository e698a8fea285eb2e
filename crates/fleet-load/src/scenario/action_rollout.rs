//! Every agent is given an action, round after round: each must come once, to its agent, in order.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::{
    change,
    fault::Fault,
    figures::{Step, now},
    ledger::{Finding, digest},
    plan::Work,
    report::Report,
    run::Run,
    scenario::{Effort, millis, per_thousand},
};

pub(super) async fn run(run: &Run, rounds: usize) -> Result<Report, Fault> {
    let limit = run.options.limit;
    let mut fleet = run.fleet(Work::CheckIn, 0)?;
    let agents = fleet.agents();
    fleet.settle(limit).await?;
    fleet.report().await?;
    let names = fleet.names().await?;
    let mut report = Report::new("action-rollout", agents);
    let (mut accepted, mut last, mut cpu) = (vec![], vec![], vec![]);
    // By agent: what should have come and what came, in order.
    let (mut wanted, mut came) = (BTreeMap::<_, Vec<u64>>::new(), BTreeMap::<_, Vec<u64>>::new());
    for _ in 0..rounds {
        let (before, effort, begun) = (fleet.counts(), Effort::begin(run.process)?, now());
        // When each action was begun, by its digest; a command's are all begun with it.
        let mut posted = BTreeMap::new();
        if let Some(command) = &run.options.trigger {
            fleet.meanwhile(change::run(command)).await?;
        } else {
            for (number, begun, action) in fleet.meanwhile(post_all(run, &names)).await? {
                posted.insert(action, begun);
                wanted.entry(number).or_default().push(action);
            }
        }
        accepted.push(millis(now() - begun));
        let all = before.actions + agents;
        fleet
            .reach("agents have it", all, |counts| counts.actions, limit)
            .await?;
        let acked = before.acked + agents;
        fleet
            .reach("agents acknowledged", acked, |counts| counts.acked, limit)
            .await?;
        fleet.settle(limit).await?;
        if let Some(took) = effort.server_cpu()? {
            cpu.push(per_thousand(took, agents) * 1000.0);
        }
        let figures = fleet.report().await?;
        last.extend(
            figures
                .actions
                .iter()
                .map(|(_, _, at)| at.saturating_sub(begun))
                .max()
                .map(millis),
        );
        for (number, action, at) in &figures.actions {
            let begun = posted.get(action).copied().unwrap_or(begun);
            report.time(Step::Delivery, Duration::from_nanos(at.saturating_sub(begun)));
            came.entry(*number).or_default().push(*action);
        }
        report.found(Finding::BrokenPoll, figures.failed(|_| true));
        report.take(&figures);
    }
    if run.options.trigger.is_some() {
        // Which actions the command made is known from the agents alone: all must have the same.
        let longest = came
            .values()
            .max_by_key(|actions| actions.len())
            .cloned()
            .unwrap_or_default();
        let expected = longest
            .into_iter()
            .chain(std::iter::repeat(0))
            .take(rounds.max(1))
            .collect::<Vec<_>>();
        wanted = names
            .iter()
            .map(|(number, _)| (*number, expected.clone()))
            .collect();
    }
    let (lost, reordered) = compare(&wanted, &came);
    report.found(Finding::Lost, lost);
    report.found(Finding::Reordered, reordered);
    report.rounds("accepted_ms", &accepted, "ms, all of them");
    report.rounds("last_ms", &last, "ms");
    if !cpu.is_empty() {
        report.rounds(
            "server_cpu_ms_per_1000",
            &cpu,
            "ms, posting, acknowledgement and next poll included",
        );
    }
    Ok(report)
}

/// Posts one action to each agent, some at a time; gives agent, when it was begun, and the action.
async fn post_all(run: &Run, names: &[(usize, String)]) -> Result<Vec<(usize, u64, u64)>, Fault> {
    let action = json!({"type": "SETTINGS", "data": {"log_level": "info"}});
    let share = names.len().div_ceil(AT_A_TIME).max(1);
    let posting = names.chunks(share).map(|names| {
        let action = &action;
        async move {
            let mut admin = run.admin()?;
            let mut posted = Vec::with_capacity(names.len());
            for (number, name) in names {
                let begun = now();
                let id = admin.post_action(name, action).await?;
                posted.push((*number, begun, digest(&id)));
            }
            Ok::<_, Fault>(posted)
        }
    });
    let all: Vec<_> = futures_util::stream::iter(posting)
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    Ok(all.concat())
}

/// How many did not come, and how many agents got theirs in another order or got another's.
fn compare(wanted: &BTreeMap<usize, Vec<u64>>, came: &BTreeMap<usize, Vec<u64>>) -> (u64, u64) {
    let (mut lost, mut reordered) = (0, 0);
    for (agent, wanted) in wanted {
        let came = came.get(agent).map(Vec::as_slice).unwrap_or_default();
        let missing = wanted.iter().filter(|action| !came.contains(action)).count() as u64;
        lost += missing;
        if missing == 0 && came != wanted {
            reordered += 1;
        }
    }
    (lost, reordered)
}

const AT_A_TIME: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_out_of_order_is_counted() {
        let agents = |lists: &[&[u64]]| lists.iter().map(|list| list.to_vec()).enumerate().collect();
        let wanted = agents(&[&[1, 2], &[3, 4], &[5, 6], &[7]]);
        assert_eq!(compare(&wanted, &wanted), (0, 0));
        let came = agents(&[&[2, 1], &[3], &[], &[7, 9]]);
        assert_eq!(compare(&wanted, &came), (3, 2));
    }
}
