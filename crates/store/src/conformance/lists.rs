//! S17, S18, S28: lists and counts, checked against the definition of the status.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Bench,
    population::{TIMEOUTS, populate, settle},
    samples::*,
};
use crate::{
    Agent, AgentId, AgentQuery, AgentSort, AgentStatus, AuditMark, CheckinRecord, Page, PageRequest,
    PageStart, PolicyId, SortOrder, StatusReport, Store, StoreError, Timestamp, inactivity_timeout,
};

/// S17 at the size of ordinary tests.
pub async fn s17_lists_with_each_filter_and_sort_are_stable(bench: &mut impl Bench) {
    s17_with(bench, 10_000).await;
}

/// S17: each filter and sort against the plain computation, and pages that stay while agents change.
pub async fn s17_with(bench: &mut impl Bench, agents: usize) {
    let store = bench.store();
    let now = populate(&*store, agents, TIMEOUTS).await;
    let known = walk(&*store, &everyone(), now, PageRequest::WINDOW).await;
    assert_eq!(known.len(), agents);
    let known: Vec<_> = known.into_iter().map(|report| report.agent).collect();
    for query in queries() {
        let mut expected: Vec<_> = known.iter().filter(|agent| fits(agent, &query, now)).collect();
        expected.sort_by(|one, other| order(one, other, &query));
        let last = expected.len().min(PageRequest::WINDOW as usize - 20);
        for offset in [0, last / 2, last.saturating_sub(3), last] {
            let request = PageRequest {
                from: PageStart::Offset(offset as u64),
                limit: 20,
            };
            let page = store.agents(&query, request, now).await.unwrap();
            assert_total(page.total, expected.len() as u64);
            let shown = |from: usize| expected.iter().skip(from).take(20).map(|agent| &agent.id);
            let ids = |page: &Page<StatusReport>| {
                let ids = page.items.iter().map(|report| report.agent.id.clone());
                ids.collect::<Vec<_>>()
            };
            assert!(
                shown(offset).eq(&ids(&page)),
                "{query:?} from {offset}: {:?}",
                ids(&page)
            );
            for StatusReport { agent, status, .. } in &page.items {
                assert_eq!(*status, expected_status(agent, now), "{agent:?}");
            }
            // The next page, at any distance.
            assert_eq!(page.next.is_some(), page.items.len() == 20);
            let Some(position) = page.next else { continue };
            let next = store.agents(&query, behind(position, 20), now).await.unwrap();
            assert_total(next.total, expected.len() as u64);
            assert!(
                shown(offset + 20).eq(&ids(&next)),
                "{query:?} behind {offset}: {:?}",
                ids(&next)
            );
        }
    }
    pages_are_stable_while_agents_change(&*store, agents, now).await;
}

/// By id: whatever changes meanwhile, each agent is seen once.
async fn pages_are_stable_while_agents_change(store: &dyn Store, agents: usize, now: Timestamp) {
    let query = AgentQuery {
        sort: AgentSort::Id,
        order: SortOrder::Ascending,
        ..everyone()
    };
    let mut seen = Vec::new();
    let mut next = Some(PageRequest::first(997));
    let mut round = 0;
    while let Some(request) = next {
        let page = store.agents(&query, request, now).await.unwrap();
        let changed = page.items.iter().map(|report| {
            let status = Some(["online", "error", "degraded"][round % 3].to_owned());
            CheckinRecord {
                status,
                ..checkin(report.agent.id.as_str(), now)
            }
        });
        store.record_checkins(changed.collect()).await.unwrap();
        // An agent before the position shifts nothing.
        enrolled(store, &format!("a-new-{round}")).await;
        seen.extend(page.items.into_iter().map(|report| report.agent.id));
        next = page.next.map(|position| behind(position, 997));
        round += 1;
    }
    assert_eq!(seen.len(), agents);
    assert!(seen.is_sorted_by(|one, next| one < next));
}

/// O22: an offset beyond the window and a position of another list are refused.
pub async fn o22_pages_end_where_it_is_said(bench: &mut impl Bench) {
    let store = bench.store();
    policy(&*store, "p").await;
    for n in 0..5 {
        enrolled(&*store, &format!("a{n}")).await;
    }
    let everyone = everyone();
    let request = |offset: u64, limit| PageRequest {
        from: PageStart::Offset(offset),
        limit,
    };
    let window = PageRequest::WINDOW;
    let last = request(u64::from(window) - 1, 1);
    assert_eq!(store.agents(&everyone, last, at(1)).await.unwrap().items, []);
    for beyond in [
        request(window.into(), 1),
        request(0, window + 1),
        request(u64::MAX, 10),
    ] {
        let refused = store.agents(&everyone, beyond.clone(), at(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
        let refused = store.tokens(beyond).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
    }
    for foreign in ["", "nonsense", "[]", "{}", "[null, null]"] {
        let refused = store.agents(&everyone, behind(foreign.into(), 5), at(1)).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid { .. })),
            "{foreign}: {refused:?}"
        );
    }
    let by_time = store
        .agents(&everyone, PageRequest::first(2), at(1))
        .await
        .unwrap();
    let by_id = AgentQuery {
        sort: AgentSort::Id,
        ..everyone
    };
    let refused = store
        .agents(&by_id, behind(by_time.next.unwrap(), 2), at(1))
        .await;
    assert!(
        matches!(refused, Err(StoreError::Invalid { .. })),
        "of a list in another order: {refused:?}"
    );
    let end = store.agents(&by_id, PageRequest::first(5), at(1)).await.unwrap();
    let end = store
        .agents(&by_id, behind(end.next.unwrap(), 5), at(1))
        .await
        .unwrap();
    assert_eq!((end.items, end.next), (vec![], None));
}

/// S18: for every query, the counts are the list's and follow every change of an agent.
pub async fn s18_counts_agree_with_the_list(bench: &mut impl Bench) {
    let store = bench.store();
    let now = populate(&*store, 500, TIMEOUTS).await;
    for now in [
        now,
        now.plus(Duration::from_secs(600)),
        now.plus(Duration::from_secs(90_000)),
        now.minus(Duration::from_secs(9_999_999)),
    ] {
        agree(&*store, now).await;
    }
    // Every way to change a state.
    let id = |n: usize| AgentId::from(format!("agent-{n:07}"));
    for n in 0..50 {
        let q = PolicyId::from("policy-1");
        store.reassign(&[id(n)], &q, now).await.unwrap();
        store.report_policy(&id(n + 100), &q, 2, now).await.unwrap();
        store.unenroll(&id(n + 200), None, now).await.unwrap();
        let mark = AuditMark {
            reason: "uninstall".to_owned(),
            time: "2026-01-01T00:00:00Z".to_owned(),
        };
        store.mark_audit(&id(n + 300), mark, now).await.unwrap();
        let clearing = CheckinRecord {
            clears_audit: true,
            ..checkin(id(n + 350).as_str(), now)
        };
        store.record_checkins(vec![clearing]).await.unwrap();
        let mut again = enrollment(&format!("fresh-{n}"), "policy-2");
        again.replaces = crate::Replacement::Remove(id(n + 200));
        store.enroll(again).await.unwrap();
    }
    agree(&*store, now).await;
    bench.restart().await;
    agree(&*bench.store(), now).await;
}

async fn agree(store: &dyn Store, now: Timestamp) {
    for query in queries() {
        let shown = AgentQuery {
            shows_inactive: true,
            ..query.clone()
        };
        let list = store.agents(&shown, all(), now).await.unwrap();
        assert_eq!(walk(store, &shown, now, 97).await, list.items, "{shown:?}");
        let mut counted = BTreeMap::new();
        for report in &list.items {
            assert_eq!(report.status, expected_status(&report.agent, now));
            *counted.entry(report.status).or_insert(0) += 1;
        }
        assert_total(list.total, list.items.len() as u64);
        assert_eq!(
            store.count_by_status(&query, now).await.unwrap(),
            counted,
            "{query:?}"
        );
    }
    let everyone = store.agents(&everyone(), all(), now).await.unwrap().items;
    for report in everyone.iter().step_by(7) {
        let one = store.agent_status(&report.agent.id, now).await.unwrap();
        assert_eq!(one.as_ref(), Some(report));
    }
    assert_eq!(
        store.agent_status(&AgentId::from("nobody"), now).await.unwrap(),
        None
    );
    let of = |policy: &PolicyId| {
        let assigned = everyone
            .iter()
            .filter(|report| report.agent.is_active && report.agent.policy == *policy);
        assigned
            .map(|report| report.agent.policy_revision)
            .collect::<Vec<_>>()
    };
    for summary in store.policies(all()).await.unwrap().items {
        let assigned = of(&summary.latest.policy);
        assert_eq!(summary.agents, assigned.len() as u64);
        let pending = assigned
            .iter()
            .filter(|one| one.is_none_or(|one| one < summary.latest.revision))
            .count();
        assert_eq!(summary.pending, pending as u64, "{}", summary.latest.policy);
    }
}

/// S28: medians at `agents` agents. The limits hold for a release build on a quiet machine; `slack` widens
/// them for others.
pub async fn s28_with(bench: &mut impl Bench, agents: usize, slack: u32) {
    let store = bench.store();
    let now = settle(
        &*store,
        agents,
        [None, Some(3600), Some(24 * 3600), Some(14 * 24 * 3600)],
    )
    .await;
    let mut keys = Vec::new();
    for n in 0..200 {
        keys.push(enrolled(&*store, &format!("later-{n}")).await.access_key);
    }
    let names: Vec<_> = (0..200)
        .map(|n| format!("agent-{:07}", n * 7919 % agents))
        .collect();
    let mut taken: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for (name, key) in names.iter().zip(&keys) {
        let id = AgentId::from(name.as_str());
        let started = Instant::now();
        assert!(store.agent(&id).await.unwrap().is_some());
        taken.entry("agent").or_default().push(started.elapsed());
        let started = Instant::now();
        assert!(is_alive(&*store, key).await);
        taken.entry("key").or_default().push(started.elapsed());
        let started = Instant::now();
        store.pending_actions(&id, None, None, now, 10).await.unwrap();
        taken
            .entry("pending actions")
            .or_default()
            .push(started.elapsed());
    }
    let all = AgentQuery::default();
    // The last page that an offset reaches, and then on from page to page.
    let mut deep = PageRequest::first(PageRequest::WINDOW);
    for _ in 0..3 {
        let page = store.agents(&all, deep, now).await.unwrap();
        deep = behind(page.next.unwrap(), PageRequest::WINDOW);
    }
    let PageStart::After(deep) = deep.from else {
        unreachable!("it lies behind a page")
    };
    for _ in 0..11 {
        let started = Instant::now();
        let page = store.agents(&all, PageRequest::first(20), now).await.unwrap();
        assert_eq!(page.items.len(), 20);
        taken.entry("page").or_default().push(started.elapsed());
        // After a random agent: a page deep inside the list costs as much as the first.
        let started = Instant::now();
        let page = store.agents(&all, behind(deep.clone(), 20), now).await.unwrap();
        assert_eq!(page.items.len(), 20);
        taken.entry("deep page").or_default().push(started.elapsed());
        let started = Instant::now();
        store.count_by_status(&all, now).await.unwrap();
        taken.entry("counts").or_default().push(started.elapsed());
    }
    for round in 1..=5 {
        let later = now.plus(Duration::from_secs(round));
        let batch = (0..10_000)
            .map(|n| checkin(&format!("agent-{:07}", n * 7919 % agents), later))
            .collect();
        let started = Instant::now();
        store.record_checkins(batch).await.unwrap();
        taken
            .entry("10,000 check-ins")
            .or_default()
            .push(started.elapsed());
    }
    let mut slow = Vec::new();
    for (what, mut times) in taken {
        times.sort();
        let median = times[times.len() / 2];
        let limit = match what {
            "page" | "deep page" | "counts" => Duration::from_millis(50),
            "10,000 check-ins" => Duration::from_millis(800),
            _ => Duration::from_millis(1),
        };
        println!("S28 {agents} agents, {what}: median {median:?}, limit {limit:?} x {slack}");
        if median > limit * slack {
            slow.push(format!("{what}: {median:?}"));
        }
    }
    assert!(slow.is_empty(), "too slow at {agents} agents: {slow:?}");
}

/// Each filter, each sort, and some together.
fn queries() -> Vec<AgentQuery> {
    let mut queries = vec![AgentQuery::default(), everyone()];
    for sort in [
        AgentSort::EnrolledAt,
        AgentSort::LastCheckin,
        AgentSort::Id,
        AgentSort::Policy,
        AgentSort::Version,
    ] {
        for order in [SortOrder::Ascending, SortOrder::Descending] {
            queries.push(AgentQuery {
                sort,
                order,
                ..AgentQuery::default()
            });
            queries.push(AgentQuery {
                sort,
                order,
                ..everyone()
            });
            queries.push(AgentQuery {
                sort,
                order,
                policies: vec!["policy-2".into()],
                ..AgentQuery::default()
            });
        }
    }
    for status in AgentStatus::ALL {
        queries.push(AgentQuery {
            statuses: vec![*status],
            ..AgentQuery::default()
        });
    }
    let errors = vec![AgentStatus::Error, AgentStatus::Offline];
    let tags = vec!["even".to_owned(), "third".to_owned()];
    queries.extend([
        AgentQuery {
            statuses: errors.clone(),
            policies: vec!["policy-0".into(), "policy-1".into()],
            ..AgentQuery::default()
        },
        AgentQuery {
            policies: vec!["unknown".into()],
            ..AgentQuery::default()
        },
        AgentQuery {
            tags: tags.clone(),
            ..everyone()
        },
        AgentQuery {
            tags,
            statuses: errors,
            sort: AgentSort::Version,
            ..AgentQuery::default()
        },
        AgentQuery {
            tags: vec!["none".to_owned()],
            ..everyone()
        },
        AgentQuery {
            search: Some("AGENT-00000".to_owned()),
            ..everyone()
        },
        AgentQuery {
            search: Some("host-7".to_owned()),
            sort: AgentSort::LastCheckin,
            ..AgentQuery::default()
        },
        AgentQuery {
            search: Some("%".to_owned()),
            ..everyone()
        },
        AgentQuery {
            search: Some("_gent".to_owned()),
            ..everyone()
        },
        AgentQuery {
            search: Some("host-1".to_owned()),
            policies: vec!["policy-3".into()],
            tags: vec!["third".to_owned()],
            ..everyone()
        },
    ]);
    queries
}

fn fits(agent: &Agent, query: &AgentQuery, now: Timestamp) -> bool {
    let status = expected_status(agent, now);
    let shown = match query.statuses.is_empty() {
        true => query.shows_inactive || !matches!(status, AgentStatus::Unenrolled | AgentStatus::Inactive),
        false => query.statuses.contains(&status),
    };
    let host = agent
        .local_metadata
        .as_ref()
        .map(|json| json.as_str().replace("{\"host\":{\"hostname\":\"", ""));
    let begins = |text: &str, prefix: &str| {
        text.to_ascii_lowercase()
            .starts_with(&prefix.to_ascii_lowercase())
    };
    shown
        && (query.policies.is_empty() || query.policies.contains(&agent.policy))
        && query.tags.iter().all(|tag| agent.tags.contains(tag))
        && query.search.as_ref().is_none_or(|prefix| {
            begins(agent.id.as_str(), prefix) || host.as_ref().is_some_and(|host| begins(host, prefix))
        })
}

fn order(one: &Agent, other: &Agent, query: &AgentQuery) -> std::cmp::Ordering {
    let ascending = match query.sort {
        AgentSort::EnrolledAt => one.enrolled_at.cmp(&other.enrolled_at),
        AgentSort::LastCheckin => one.last_checkin.cmp(&other.last_checkin),
        AgentSort::Id => std::cmp::Ordering::Equal,
        AgentSort::Policy => one.policy.cmp(&other.policy),
        AgentSort::Version => one.version.cmp(&other.version),
    }
    .then_with(|| one.id.cmp(&other.id));
    match query.order {
        SortOrder::Ascending => ascending,
        SortOrder::Descending => ascending.reverse(),
    }
}

/// data.md 6.1 as it is defined, with the timeouts of the sample policies.
fn expected_status(agent: &Agent, now: Timestamp) -> AgentStatus {
    let timeout = inactivity_timeout(&agent.policy, |policy| {
        let place = policy.as_str().strip_prefix("policy-")?.parse::<usize>().ok()?;
        TIMEOUTS.get(place).copied().flatten().map(Duration::from_secs)
    });
    AgentStatus::of(agent, timeout, now)
}
