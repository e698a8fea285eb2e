//! O22, S18: whatever way an engine computes the status, it is the one of the definition, for random agents at random
//! times around every limit.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use proptest::{
    collection::vec,
    option, prop_oneof,
    sample::select,
    strategy::{Just, Strategy},
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use super::{Bench, samples::*};
use crate::{
    AgentId, AgentMark, AgentQuery, AgentStatus, AuditMark, CheckinRecord, PolicyId, Store, Timestamp,
    UpgradeChange, UpgradeEnd, inactivity_timeout,
};

/// Policies with their inactivity timeouts in seconds; the last one does not exist.
const POLICIES: [(&str, Option<u64>); 8] = [
    ("none", None),
    ("short", Some(60)),
    ("offline", Some(300)),
    ("long", Some(3600)),
    ("long#9.2", None),
    ("long#9.2#x", None),
    ("none#9.2", Some(120)),
    ("gone#9.2", None),
];

/// An agent's life, in milliseconds from [`NOW`].
#[derive(Clone, Debug)]
struct Life {
    policy: &'static str,
    enrolled: i64,
    checkin: Option<(i64, &'static str)>,
    revision: Option<i64>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Mark(AgentMark),
    Upgrade(UpgradeEnd),
    Audit(&'static str),
    Reassign(&'static str),
    Unenroll,
}

const NOW: i64 = 1_767_225_600_000;

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW + millis)
}

/// A random moment, mostly within a few milliseconds of a limit of the definition or a boundary of the engine.
fn moment() -> impl Strategy<Value = i64> {
    let limits = vec![0, 60_000, 120_000, 300_000, 3_600_000, 600_000];
    prop_oneof![
        4 => (select(limits), -2..=2_i64).prop_map(|(limit, by)| by - limit),
        1 => -8_000_000..2_000_000_i64,
    ]
}

fn policy_name() -> impl Strategy<Value = &'static str> {
    select(POLICIES.map(|(name, _)| name).to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Mark(AgentMark::UpgradeStarted)),
        Just(Step::Mark(AgentMark::UnenrollmentStarted)),
        select(vec![UpgradeEnd::Reached, UpgradeEnd::Missed]).prop_map(Step::Upgrade),
        select(vec!["uninstall", "orphaned", "key_revoked"]).prop_map(Step::Audit),
        // Nobody is assigned to one that does not exist (O8).
        policy_name()
            .prop_filter("it exists", |name| !name.starts_with("gone"))
            .prop_map(Step::Reassign),
        Just(Step::Unenroll),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    let status = select(vec!["online", "error", "degraded", "starting"]);
    (
        policy_name(),
        moment(),
        option::weighted(0.8, (moment(), status)),
        option::weighted(0.8, 0..3_i64),
        vec(step(), 0..3),
    )
        .prop_map(|(policy, enrolled, checkin, revision, steps)| Life {
            policy,
            enrolled,
            checkin,
            revision,
            steps,
        })
}

async fn live(store: &dyn Store, id: &AgentId, life: &Life) {
    let mut new = enrollment(id.as_str(), life.policy);
    new.agent.at = time(life.enrolled);
    store.enroll(new).await.unwrap();
    if let Some((at, status)) = life.checkin {
        let record = CheckinRecord {
            status: Some(status.to_owned()),
            ..checkin(id.as_str(), time(at))
        };
        store.record_checkins(vec![record]).await.unwrap();
    }
    if let Some(revision) = life.revision {
        let policy = PolicyId::from(life.policy);
        store.report_policy(id, &policy, revision, time(0)).await.unwrap();
    }
    for (place, step) in life.steps.iter().enumerate() {
        match step.clone() {
            Step::Mark(mark) => {
                let mut one = action(&format!("{id}-{place}"), &[id.as_str()]);
                one.mark = Some(mark);
                store.append_actions(vec![one]).await.unwrap();
            }
            Step::Upgrade(end) => {
                let change = UpgradeChange {
                    end: Some(end),
                    ..UpgradeChange::default()
                };
                store.change_upgrade(id, change, time(0)).await.unwrap();
            }
            Step::Audit(reason) => {
                let mark = AuditMark {
                    reason: reason.to_owned(),
                    time: "2026-01-01T00:00:00Z".to_owned(),
                };
                store.mark_audit(id, mark, time(0)).await.unwrap();
            }
            Step::Reassign(policy) => {
                let agents = std::slice::from_ref(id);
                store.reassign(agents, &policy.into(), time(0)).await.unwrap();
            }
            Step::Unenroll => store.unenroll(id, None, time(0)).await.unwrap(),
        }
    }
}

fn defined(agent: &crate::Agent, now: Timestamp) -> AgentStatus {
    let timeout = inactivity_timeout(&agent.policy, |policy| {
        let known = POLICIES.iter().find(|(name, _)| *name == policy.as_str());
        known.and_then(|(_, seconds)| seconds.map(Duration::from_secs))
    });
    AgentStatus::of(agent, timeout, now)
}

/// O22: the status of one agent, of every agent of a list, and the counts are those of the definition.
pub async fn o22_the_status_is_the_defined_one(bench: &mut impl Bench) {
    let store = bench.store();
    for (name, seconds) in POLICIES {
        if name.starts_with("gone") {
            continue;
        }
        let mut first = revision(name);
        first.inactivity_timeout = seconds.map(Duration::from_secs);
        store.append_policy_revision(None, first).await.unwrap();
    }
    let (made, runtime) = (Cell::new(0), Handle::current());
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = block_in_place(|| {
        runner.run(&(vec(life(), 1..5), vec(moment(), 1..4)), |(lives, clocks)| {
            runtime.block_on(async {
                for life in &lives {
                    let id = AgentId::from(format!("a{}", made.replace(made.get() + 1)));
                    live(&*store, &id, life).await;
                    for now in clocks.iter().map(|clock| time(*clock)) {
                        let shown = store.agent_status(&id, now).await.unwrap().unwrap();
                        let defined = defined(&shown.agent, now);
                        if shown.status != defined {
                            let told = format!("{} instead of {defined} at {now}", shown.status);
                            return Err(TestCaseError::fail(told));
                        }
                    }
                }
                Ok(())
            })
        })
    });
    outcome.unwrap();
    for limit in [0, 60_000, 120_000, 300_000, 600_000, 3_600_000, 8_000_000] {
        for by in [-1, 0, 1] {
            agree(&*store, time(limit + by)).await;
        }
    }
}

/// Lists and counts over everybody so far, and over each policy.
async fn agree(store: &dyn Store, now: Timestamp) {
    let mut by_policy: BTreeMap<PolicyId, BTreeMap<AgentStatus, u64>> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for shown in walk(store, &everyone(), now, 1000).await {
        assert_eq!(
            shown.status,
            defined(&shown.agent, now),
            "{:?} at {now}",
            shown.agent
        );
        *all.entry(shown.status).or_insert(0) += 1;
        let of_policy = by_policy.entry(shown.agent.policy).or_default();
        *of_policy.entry(shown.status).or_insert(0) += 1;
    }
    assert_eq!(
        store.count_by_status(&everyone(), now).await.unwrap(),
        all,
        "at {now}"
    );
    for (policy, counts) in by_policy {
        let query = AgentQuery {
            policies: vec![policy],
            ..everyone()
        };
        assert_eq!(
            store.count_by_status(&query, now).await.unwrap(),
            counts,
            "{query:?} at {now}"
        );
    }
}
