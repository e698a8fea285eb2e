//! A population of agents in every state, large or small.

use std::time::Duration;

use super::samples::*;
use crate::{AgentId, AuditMark, CheckinRecord, Enrollment, PolicyId, Store, Timestamp, UnhealthyReason};

/// Agents in every state, over four policies.
pub(super) async fn populate(store: &dyn Store, agents: usize, timeouts: [Option<u64>; 4]) -> Timestamp {
    let now = settle(store, agents, timeouts).await;
    let numbers: Vec<_> = (0..agents).collect();
    for part in numbers.chunks(1000) {
        vary(store, part, now).await;
    }
    now
}

/// Agents that enrolled, checked in at various times and confirmed nothing yet: the quicker half, in calls of a
/// thousand at a time.
pub(super) async fn settle(store: &dyn Store, agents: usize, timeouts: [Option<u64>; 4]) -> Timestamp {
    let now = at(1_000_000);
    for (n, timeout) in timeouts.into_iter().enumerate() {
        let mut first = revision(&format!("policy-{n}"));
        first.inactivity_timeout = timeout.map(Duration::from_secs);
        first.at = at(i64::try_from(n).unwrap());
        store.append_policy_revision(None, first.clone()).await.unwrap();
        store.append_policy_revision(Some(1), first).await.unwrap();
    }
    let numbers: Vec<_> = (0..agents).collect();
    for part in numbers.chunks(1000) {
        let enrolling = part.iter().map(|n| store.enroll(sample(*n, now)));
        for enrolled in futures_all(enrolling.collect()).await {
            enrolled.unwrap();
        }
        store
            .record_checkins(part.iter().filter_map(|n| sample_checkin(*n, now)).collect())
            .await
            .unwrap();
    }
    now
}

/// Gives the agents every other state: unenrolled, audited, upgrading, degraded …
async fn vary(store: &dyn Store, part: &[usize], now: Timestamp) {
    let mut changes: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
    for n in part {
        let id = AgentId::from(format!("agent-{n:07}"));
        if n % 7 != 0 {
            changes.push(Box::pin(async move {
                let policy = PolicyId::from(format!("policy-{}", n % 4));
                let revision = i64::try_from(n % 3).unwrap();
                store
                    .confirm_policy(&id, &policy, revision, now)
                    .await
                    .map(|_| ())
                    .unwrap();
                match n % 41 {
                    0 => store.unenroll(&id, None, now).await.unwrap(),
                    1 | 2 => {
                        let reason = if n % 41 == 1 { "uninstall" } else { "orphaned" }.to_owned();
                        let mark = AuditMark {
                            reason,
                            time: "2026-01-01T00:00:00Z".to_owned(),
                        };
                        store.mark_audit(&id, mark, now).await.unwrap();
                    }
                    _ => {}
                }
            }));
        }
    }
    futures_all(changes).await;
    let marked: Vec<_> = part
        .iter()
        .filter(|n| **n % 29 == 0)
        .map(|n| format!("agent-{n:07}"))
        .collect();
    let marked: Vec<_> = marked.iter().map(String::as_str).collect();
    for (place, mark) in [
        crate::AgentMark::UpgradeStarted,
        crate::AgentMark::UnenrollmentStarted,
    ]
    .into_iter()
    .enumerate()
    {
        let mut one = action(&format!("d{place}-{}", part[0]), &marked);
        one.mark = Some(mark);
        one.expiration = Some(now.plus(Duration::from_secs(60)));
        if place == 1 {
            one.agents.truncate(marked.len() / 2);
        }
        store.append_actions(vec![one]).await.unwrap();
    }
}

/// Runs the futures concurrently, so that they share commits.
async fn futures_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|context| {
        let mut open = false;
        for (future, output) in &mut waiting {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

fn sample(n: usize, now: Timestamp) -> Enrollment {
    let mut enrollment = enrollment(&format!("agent-{n:07}"), &format!("policy-{}", n % 4));
    let agent = &mut enrollment.agent;
    agent.at = now.minus(Duration::from_secs((n as u64 * 31) % 2000));
    agent.version = format!("9.{}.0", n % 11);
    agent.tags = [("even", 2), ("third", 3), ("tenth", 10)]
        .into_iter()
        .filter(|(_, divisor)| n.is_multiple_of(*divisor))
        .map(|(tag, _)| tag.to_owned())
        .collect();
    agent.local_metadata = Some(json(&format!(r#"{{"host":{{"hostname":"Host-{}"}}}}"#, n % 100)));
    enrollment
}

fn sample_checkin(n: usize, now: Timestamp) -> Option<CheckinRecord> {
    let silent = match n % 13 {
        0 => return None,
        1 => 301 + (n as u64 * 37) % 3000,
        2 => 3601 + (n as u64 * 53) % 40_000,
        3 => 200_000 + (n as u64 % 1000) * 600,
        other => other as u64 * 7,
    };
    let status = ["online", "online", "error", "degraded", "starting"][n % 5].to_owned();
    Some(CheckinRecord {
        status: Some(status),
        unhealthy_reason: (n % 5 == 2).then(|| vec![UnhealthyReason::Output]),
        ..checkin(&format!("agent-{n:07}"), now.minus(Duration::from_secs(silent)))
    })
}

/// Inactivity timeouts of the policies, seconds: none, longer and shorter than what makes an agent offline.
pub(super) const TIMEOUTS: [Option<u64>; 4] = [None, Some(3600), Some(60), Some(14 * 24 * 3600)];
