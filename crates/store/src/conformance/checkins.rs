//! S4–S6, O6, O10: what check-ins change in an agent's record: status, position, policy, upgrade.

use super::{Bench, samples::*};
use crate::{
    AgentId, AgentQuery, AuditMark, CheckinRecord, Collector, CollectorReport, DetailsChange, PageRequest,
    PolicyId, Replacement, StoreError, UnhealthyReason, UpgradeChange, UpgradeEnd,
};

/// S4: the newest time stays, whatever the order; `None` leaves what is stored.
pub async fn s04_the_newest_checkin_stays(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let newest = CheckinRecord {
        status: Some("degraded".to_owned()),
        message: Some("disk".to_owned()),
        version: Some("9.6.1".to_owned()),
        local_metadata: Some(json(r#"{"host":{"hostname":"Late"}}"#)),
        components: Some(json("[{\"id\":1}]")),
        unhealthy_reason: Some(vec![UnhealthyReason::Input, UnhealthyReason::Other]),
        rollbacks: Some(json("[]")),
        ..checkin("a", at(30))
    };
    let older = CheckinRecord {
        version: Some("0".to_owned()),
        local_metadata: Some(json("{}")),
        unhealthy_reason: Some(Vec::new()),
        message: Some("old".to_owned()),
        ..checkin("a", at(20))
    };
    let unknown = checkin("nobody", at(30));
    store
        .record_checkins(vec![unknown, newest.clone(), older.clone()])
        .await
        .unwrap();
    store.record_checkins(vec![older]).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(stored.last_checkin, Some(at(30)));
    assert_eq!(stored.last_checkin_status, newest.status);
    assert_eq!(stored.last_checkin_message, newest.message);
    assert_eq!(stored.version, "9.6.1");
    assert_eq!(stored.local_metadata, newest.local_metadata);
    assert_eq!(stored.components, newest.components);
    assert_eq!(Some(stored.unhealthy_reason), newest.unhealthy_reason);
    assert_eq!(stored.rollbacks, newest.rollbacks);

    let quiet = CheckinRecord {
        status: None,
        ..checkin("a", at(40))
    };
    store.record_checkins(vec![quiet]).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(stored.last_checkin, Some(at(40)));
    assert_eq!(stored.last_checkin_status.as_deref(), Some("degraded"));
    assert_eq!(stored.components, newest.components);
    let healthy = CheckinRecord {
        unhealthy_reason: Some(Vec::new()),
        ..checkin("a", at(41))
    };
    store.record_checkins(vec![healthy]).await.unwrap();
    assert_eq!(agent(&*store, "a").await.unhealthy_reason, []);

    // A check-in removes the audit mark only when it says so.
    let mark = AuditMark {
        reason: "orphaned".to_owned(),
        time: "2026-01-01T00:00:00.5+01:00".to_owned(),
    };
    store.mark_audit(&AgentId::from("a"), mark, at(42)).await.unwrap();
    store.record_checkins(vec![checkin("a", at(43))]).await.unwrap();
    assert!(agent(&*store, "a").await.audit.is_some());
    let clearing = CheckinRecord {
        clears_audit: true,
        ..checkin("a", at(44))
    };
    store.record_checkins(vec![clearing.clone()]).await.unwrap();
    assert_eq!(agent(&*store, "a").await.audit, None);

    // A record that waited while its agent was unenrolled does not clear `unenrolled_at`.
    store
        .unenroll(&AgentId::from("a"), Some("manual"), at(45))
        .await
        .unwrap();
    store
        .record_checkins(vec![CheckinRecord {
            at: at(46),
            ..clearing
        }])
        .await
        .unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!((stored.is_active, stored.unenrolled_at), (false, Some(at(45))));
}

/// S5, M5: a position only grows, a late record may still bring one, and of several the furthest counts.
pub async fn s05_a_position_never_goes_back(bench: &mut impl Bench) {
    let store = bench.store();
    let id = enrolled(&*store, "a").await.agent.id;
    let mut positions = vec![];
    for n in 0..10 {
        let doc = format!("d{n}");
        store.append_actions(vec![action(&doc, &["a"])]).await.unwrap();
        let pending = store
            .pending_actions(&id, Some(&doc.into()), None, at(1), 10)
            .await
            .unwrap();
        positions.push(pending.position.unwrap());
    }
    for (time, confirmed, expected) in [
        (10, &[][..], None),
        (11, &[7], Some(7)),
        (12, &[3], Some(7)),
        (13, &[], Some(7)),
        (5, &[2, 8, 4], Some(8)),
        (4, &[1], Some(8)),
        (14, &[9, 0], Some(9)),
    ] {
        let record = CheckinRecord {
            positions: confirmed.iter().map(|n| positions[*n].clone()).collect(),
            ..checkin("a", at(time))
        };
        store.record_checkins(vec![record]).await.unwrap();
        assert_eq!(
            agent(&*store, "a").await.action_position,
            expected.map(|n: usize| positions[n].clone()),
            "after {confirmed:?} at {time}"
        );
    }
    assert_eq!(agent(&*store, "a").await.last_checkin, Some(at(14)));
}

/// O10, M4, M5: of token and stored position the further one counts, whichever it is; an unknown token names nothing.
pub async fn o10_the_further_of_token_and_position_counts(bench: &mut impl Bench) {
    let store = bench.store();
    let id = enrolled(&*store, "a").await.agent.id;
    let actions = ["d0", "d1", "d2", "d3"].map(|doc| action(doc, &["a"])).to_vec();
    store.append_actions(actions).await.unwrap();
    let mut places = Vec::new();
    for doc in ["d0", "d1", "d2", "d3"] {
        let pending = store
            .pending_actions(&id, Some(&doc.into()), None, at(1), 10)
            .await
            .unwrap();
        places.push(pending.position);
    }
    assert!(places.iter().all(Option::is_some));
    for (token, stored, expected) in [
        (None, None, None),
        (None, Some(1), Some(1)),
        (Some("d1"), None, Some(1)),
        (Some("d0"), Some(2), Some(2)),
        (Some("d2"), Some(0), Some(2)),
        (Some("d3"), Some(3), Some(3)),
        (Some("unknown"), Some(1), Some(1)),
        (Some("unknown"), None, None),
    ] {
        let stored = stored.and_then(|n: usize| places[n].clone());
        let token = token.map(Into::into);
        let pending = store
            .pending_actions(&id, token.as_ref(), stored.as_ref(), at(1), 10)
            .await
            .unwrap();
        let waits = &["d0", "d1", "d2", "d3"][expected.map_or(0, |n: usize| n + 1)..];
        assert_eq!(docs(&pending), waits, "{token:?} {stored:?}");
        assert_eq!(pending.position, expected.and_then(|n| places[n].clone()));
    }
}

/// S6, M8.
pub async fn s06_confirming_after_reassignment_is_refused(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    assert!(confirm(&*store, "a", 2).await);
    assert!(!confirm(&*store, "a", 2).await, "does not grow");
    assert!(!confirm(&*store, "a", 1).await, "goes back");
    assert_eq!(agent(&*store, "a").await.policy_revision, Some(2));
    let id = AgentId::from("a");
    let nowhere = store
        .reassign(std::slice::from_ref(&id), &PolicyId::from("q#9.2"), at(3))
        .await;
    assert!(matches!(
        nowhere,
        Err(StoreError::NotFound { what: "policy", .. })
    ));
    assert_eq!(agent(&*store, "a").await.policy_revision, Some(2));
    policy(&*store, "q#9.2").await;
    let moved = store
        .reassign(
            &[id.clone(), AgentId::from("nobody")],
            &PolicyId::from("q#9.2"),
            at(3),
        )
        .await;
    assert_eq!(moved.unwrap(), 1);
    let moved = agent(&*store, "a").await;
    assert_eq!(
        (moved.policy.as_str(), moved.policy_base.as_str()),
        ("q#9.2", "q")
    );
    assert_eq!(moved.policy_revision, None);
    assert!(!confirm(&*store, "a", 3).await);
    assert_eq!(agent(&*store, "a").await.policy_revision, None);
    let unknown = store
        .confirm_policy(&AgentId::from("nobody"), &PolicyId::from("p"), 1, at(4))
        .await;
    assert_eq!(
        unknown.unwrap_err(),
        StoreError::NotFound {
            what: "agent",
            id: "nobody".to_owned()
        }
    );
}

/// O5, M8: the reported pair.
pub async fn s06b_a_reported_pair_is_stored_only_while_assigned(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let (id, p, q) = (AgentId::from("a"), PolicyId::from("p"), PolicyId::from("q"));
    store.report_policy(&id, &p, 5, at(1)).await.unwrap();
    store.report_policy(&id, &p, 4, at(2)).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.policy_revision, stored.reported_policy),
        (Some(4), Some(p))
    );
    store.report_policy(&id, &q, 9, at(3)).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.policy_revision, stored.reported_policy),
        (Some(4), Some(q.clone()))
    );
    let unknown = store.report_policy(&AgentId::from("nobody"), &q, 9, at(3)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { what: "agent", .. })));
}

/// O6.
pub async fn o06_upgrade_fields_change_together(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let id = AgentId::from("a");
    let mut upgrade = action("d", &["a"]);
    upgrade.mark = Some(crate::AgentMark::UpgradeStarted);
    upgrade.at = at(2);
    store.append_actions(vec![upgrade]).await.unwrap();
    let details = json(r#"{"state":"UPG_DOWNLOADING","metadata":{"download_percent":1e1}}"#);
    let progress = UpgradeChange {
        details: DetailsChange::Set(details.clone()),
        end: None,
        ends_attempts: true,
    };
    store.change_upgrade(&id, progress, at(3)).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.upgrade_details, stored.upgrade_started_at),
        (Some(details), Some(at(2)))
    );
    store
        .change_upgrade(
            &id,
            UpgradeChange {
                end: Some(UpgradeEnd::Missed),
                ..UpgradeChange::default()
            },
            at(4),
        )
        .await
        .unwrap();
    let stored = agent(&*store, "a").await;
    assert!(stored.upgrade_details.is_some());
    assert_eq!((stored.upgrade_started_at, stored.upgraded_at), (None, None));
    store
        .change_upgrade(
            &id,
            UpgradeChange {
                details: DetailsChange::Cleared,
                end: Some(UpgradeEnd::Reached),
                ends_attempts: false,
            },
            at(5),
        )
        .await
        .unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.upgrade_details, stored.upgraded_at, stored.updated_at),
        (None, Some(at(5)), at(5))
    );
    // An upgrade that was rolled back does not count as one.
    let missed = UpgradeChange {
        end: Some(UpgradeEnd::Missed),
        ..UpgradeChange::default()
    };
    store.change_upgrade(&id, missed.clone(), at(6)).await.unwrap();
    assert_eq!(agent(&*store, "a").await.upgraded_at, None);
    let unknown = missed;
    let unknown = store
        .change_upgrade(&AgentId::from("nobody"), unknown, at(6))
        .await;
    assert!(matches!(unknown, Err(StoreError::NotFound { what: "agent", .. })));
}

/// O4: what an OpAMP agent says is kept beside its record, and ends with it; a `None` leaves what is stored, a list shows
/// all but the effective configuration.
pub async fn o04_what_an_opamp_agent_says_stays_with_it(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "plain").await;
    assert_eq!(store.collector(&"plain".into()).await.unwrap(), None);
    let first = CollectorReport {
        identifying_attributes: Some(json(r#"{"service.name":"otelcol"}"#)),
        capabilities: Some(vec!["ReportsStatus".to_owned()]),
        ..CollectorReport::default()
    };
    let mut enrollment = enrollment("c", "p");
    enrollment.agent.kind = "OPAMP".to_owned();
    enrollment.agent.policy_revision = Some(1);
    enrollment.collector = Some(Box::new(Collector {
        admitted_to: "p".into(),
        service: "otelcol".to_owned(),
        report: first.clone(),
    }));
    let agent = store.enroll(enrollment.clone()).await.unwrap().agent;
    assert_eq!((agent.kind.as_str(), agent.policy_revision), ("OPAMP", Some(1)));
    let report = CollectorReport {
        sequence_num: Some(7),
        health: Some(json(r#"{"healthy":true}"#)),
        effective_config: Some(json(r#"{"receivers":{"otlp":{}}}"#)),
        remote_config_status: Some(json(r#"{"status":"APPLIED"}"#)),
        ..CollectorReport::default()
    };
    let record = |at, report: &CollectorReport| CheckinRecord {
        collector: Some(Box::new(report.clone())),
        ..checkin("c", at)
    };
    store
        .record_checkins(vec![record(at(20), &report)])
        .await
        .unwrap();
    let late = CollectorReport {
        sequence_num: Some(6),
        ..CollectorReport::default()
    };
    store.record_checkins(vec![record(at(10), &late)]).await.unwrap();
    let expected = CollectorReport {
        identifying_attributes: first.identifying_attributes,
        capabilities: first.capabilities,
        ..report
    };
    let stored = store.collector(&"c".into()).await.unwrap().unwrap();
    assert_eq!(
        (stored.admitted_to.as_str(), stored.service.as_str()),
        ("p", "otelcol")
    );
    assert_eq!(stored.report, expected);
    let shown = store.agent_status(&"c".into(), at(21)).await.unwrap().unwrap();
    assert_eq!(shown.collector.unwrap().report, expected);
    let listed = store
        .agents(&AgentQuery::default(), PageRequest::first(10), at(21))
        .await
        .unwrap();
    for item in listed.items {
        let report = item.collector.map(|collector| collector.report);
        let overview = (item.agent.id.as_str() == "c").then(|| CollectorReport {
            effective_config: None,
            ..expected.clone()
        });
        assert_eq!(report, overview);
    }
    // Another agent in its place has nothing of it.
    store.unenroll(&"c".into(), None, at(30)).await.unwrap();
    enrollment.agent.kind = "PERMANENT".to_owned();
    enrollment.collector = None;
    enrollment.replaces = Replacement::Remove("c".into());
    store.enroll(enrollment).await.unwrap();
    assert_eq!(store.collector(&"c".into()).await.unwrap(), None);
}
