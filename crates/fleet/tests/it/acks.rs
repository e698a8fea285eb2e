//! Cases ACK and F: what an acknowledgement changes.

use fleet::{
    ActionId, Agent, FleetError, PageRequest, Timestamp,
    acks::{self, AckEvent, AckOutcome},
    actions, auth, policies,
};
use serde_json::json;

use crate::house::{House, named, online, raw, settings_action};

const ALL: PageRequest = PageRequest::first(100);

fn now() -> Timestamp {
    Timestamp::now()
}

fn event(action: &str) -> AckEvent {
    AckEvent {
        action_id: action.into(),
        timestamp: Some("2026-01-02T03:04:05.123456789+02:00".into()),
        ..AckEvent::default()
    }
}

async fn ack(house: &House, agent: &Agent, events: Vec<AckEvent>) -> Vec<AckOutcome> {
    let agent = house.agent(&agent.id).await;
    acks::apply(&house.fleet, agent, events, now()).await
}

async fn post(house: &House, agent: &Agent, kind: &str, data: Option<serde_json::Value>) -> ActionId {
    let draft = actions::ActionDraft {
        data: data.map(|data| raw(&data)),
        ..actions::ActionDraft::new(actions::ActionKind::parse(kind).unwrap())
    };
    actions::post(&house.fleet, vec![agent.id.clone()], draft, now())
        .await
        .unwrap()
        .action
}

#[actix_rt::test]
async fn ack_01_d10_d11_ack_09_policy_revisions_only_grow() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    house.change_policy().await;
    let failed = |action: &str| AckEvent {
        error: Some(String::new()),
        ..event(action)
    };
    assert_eq!(
        ack(&house, &agent, vec![failed("policy:P:2")]).await,
        [AckOutcome::Done]
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, None, "D11");
    assert_eq!(
        ack(&house, &agent, vec![event("policy:P:2")]).await,
        [AckOutcome::Done]
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, Some(2));
    for ignored in [event("policy:P:1"), event("policy:Q:7"), event("policy:P:x")] {
        assert_eq!(ack(&house, &agent, vec![ignored]).await, [AckOutcome::Done]);
        assert_eq!(house.agent(&agent.id).await.policy_revision, Some(2));
    }
}

/// A revision that does not exist, acknowledged or stored, keeps no policy from an agent.
#[actix_rt::test]
async fn a_revision_above_the_newest_counts_for_nothing() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let beyond = format!("policy:P:{}", i64::MAX);
    let events = vec![event(&beyond), event("policy:P:1")];
    assert_eq!(
        ack(&house, &agent, events).await,
        [AckOutcome::Done, AckOutcome::Done]
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, Some(1));
    // As an earlier version stored it, or as a restored store has it.
    house
        .store
        .confirm_policy(&agent.id, &house.policy, i64::MAX, now())
        .await
        .unwrap();
    house.change_policy().await;
    let answer = house.answer(&agent.id, online()).await;
    assert_eq!(answer["actions"][0]["id"], "policy:P:2");
    assert_eq!(
        ack(&house, &agent, vec![event("policy:P:2")]).await,
        [AckOutcome::Done]
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, Some(2));
}

#[actix_rt::test]
async fn an_acknowledged_revision_that_was_never_made_changes_nothing() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let last = format!("policy:P:{}", i64::MAX);
    for unmade in ["policy:P:2", last.as_str()] {
        assert_eq!(ack(&house, &agent, vec![event(unmade)]).await, [AckOutcome::Done]);
        assert_eq!(house.agent(&agent.id).await.policy_revision, None, "{unmade}");
    }
    let both = vec![event("policy:P:1"), event(&last)];
    assert_eq!(
        ack(&house, &agent, both).await,
        [AckOutcome::Done, AckOutcome::Done]
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, Some(1));
}

#[actix_rt::test]
async fn a_stored_revision_above_the_newest_counts_as_none() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    // As a restore of older policies leaves it, or an agent whose acknowledgement was believed.
    for lost in [7, i64::MAX] {
        house
            .store
            .report_policy(&agent.id, &house.policy, lost, now())
            .await
            .unwrap();
        let answer = house.answer(&agent.id, online()).await;
        assert_eq!(answer["actions"][0]["id"], "policy:P:1", "{lost}");
        let list = policies::list(&house.fleet, ALL).await.unwrap();
        assert_eq!((list.items[0].agents, list.items[0].pending), (1, 1));
        ack(&house, &agent, vec![event("policy:P:1")]).await;
        assert_eq!(house.agent(&agent.id).await.policy_revision, Some(1));
        drop(house.poll(&agent.id, online()).await);
    }
}

#[actix_rt::test]
async fn ack_03_04_05_06_f1_f2_f3_items_stand_alone() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let action = actions::post(
        &house.fleet,
        vec![agent.id.clone()],
        settings_action("info"),
        now(),
    )
    .await
    .unwrap();
    let foreign = AckEvent {
        agent_id: "other".into(),
        ..event(action.action.as_str())
    };
    let events = vec![
        foreign,
        event("unknown"),
        event(action.action.as_str()),
        event(action.action.as_str()),
    ];
    assert_eq!(
        ack(&house, &agent, events).await,
        [
            AckOutcome::WrongAgent,
            AckOutcome::UnknownAction,
            AckOutcome::Done,
            AckOutcome::Done
        ]
    );
    let results = actions::results(&house.fleet, &action.action, ALL).await.unwrap();
    assert_eq!(results.total.count(), 1);
    assert_eq!(
        results.items[0].timestamp, "2026-01-02T03:04:05.123456789+02:00",
        "M9: as it was given"
    );
    let counts = actions::progress(&house.fleet, &action.action)
        .await
        .unwrap()
        .counts;
    assert_eq!((counts.targets, counts.succeeded, counts.failed), (1, 1, 0));
}

#[actix_rt::test]
async fn ack_10_12_f5_f6_unenrolment() {
    let house = House::new().await;
    let enrolled = house.enroll().await;
    let agent = enrolled.agent;
    let action = post(&house, &agent, "UNENROLL", None).await;
    let failed = AckEvent {
        error: Some("no".into()),
        ..event(action.as_str())
    };
    assert_eq!(ack(&house, &agent, vec![failed]).await, [AckOutcome::Done]);
    assert!(house.agent(&agent.id).await.is_active, "F6");
    assert_eq!(
        ack(&house, &agent, vec![event(action.as_str())]).await,
        [AckOutcome::Done]
    );
    let stored = house.agent(&agent.id).await;
    assert!(!stored.is_active && stored.unenrolled_at.is_some());
    let refused = auth::authenticate_agent(&house.fleet, &enrolled.access_key, &agent.id)
        .await
        .unwrap_err();
    assert!(matches!(refused, FleetError::AgentInactive { .. }));
}

#[actix_rt::test]
async fn ack_11_f7_migration_ends_the_agent_too() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let data = json!({"target_uri": "https://other:8220", "enrollment_token": "t"});
    let action = post(&house, &agent, "MIGRATE", Some(data)).await;
    ack(&house, &agent, vec![event(action.as_str())]).await;
    assert!(!house.agent(&agent.id).await.is_active);
}

#[actix_rt::test]
async fn ack_13_14_15_f8_f9_f10_an_ack_ends_an_upgrade_by_an_error_only() {
    for (error, retries, started, upgraded) in [
        (None, None, true, false),
        (Some("e"), Some(true), true, false),
        (Some("e"), Some(false), false, false),
        (Some("e"), None, false, false),
    ] {
        let house = House::new().await;
        let agent = house.enroll().await.agent;
        let action = post(&house, &agent, "UPGRADE", Some(json!({"version": "9.6.1"}))).await;
        let event = AckEvent {
            error: error.map(String::from),
            retries,
            ..event(action.as_str())
        };
        assert_eq!(ack(&house, &agent, vec![event]).await, [AckOutcome::Done]);
        let stored = house.agent(&agent.id).await;
        let seen = (stored.upgrade_started_at.is_some(), stored.upgraded_at.is_some());
        assert_eq!(seen, (started, upgraded), "{error:?} {retries:?}");
    }
}

#[actix_rt::test]
async fn ack_16_17_f17_details_by_type() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let diagnostics = post(&house, &agent, "REQUEST_DIAGNOSTICS", None).await;
    let draft = actions::ActionDraft {
        input_type: Some("osquery".into()),
        data: Some(raw(&json!({"query": "select 1"}))),
        ..actions::ActionDraft::new(actions::ActionKind::InputAction)
    };
    let input = actions::post(&house.fleet, vec![agent.id.clone()], draft, now())
        .await
        .unwrap()
        .action;
    let events = vec![
        AckEvent {
            data: Some(raw(&json!({"upload_id": "u"}))),
            ..event(diagnostics.as_str())
        },
        AckEvent {
            action_input_type: Some("osquery".into()),
            action_data: Some(raw(&json!({"query": "select 1"}))),
            action_response: Some(raw(&json!({"osquery": {"count": 1}}))),
            started_at: Some("2026-01-01T00:00:00Z".into()),
            completed_at: Some("2026-01-01T00:00:01Z".into()),
            ..event(input.as_str())
        },
    ];
    ack(&house, &agent, events).await;
    let details = async |id: &ActionId| {
        let page = actions::results(&house.fleet, id, ALL).await.unwrap();
        page.items[0]
            .details
            .clone()
            .unwrap()
            .read::<serde_json::Value>()
            .unwrap()
    };
    assert_eq!(details(&diagnostics).await, json!({"data": {"upload_id": "u"}}));
    let input = details(&input).await;
    assert_eq!(input["action_response"], json!({"osquery": {"count": 1}}));
    assert_eq!(
        (&input["started_at"], &input["completed_at"]),
        (&json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T00:00:01Z"))
    );
}

#[actix_rt::test]
async fn ack_18_ac_57_a_fault_of_the_store_fails_each_item() {
    let house = House::new().await;
    let enrolled = house.enroll().await.agent;
    let action = post(&house, &enrolled, "SETTINGS", Some(json!({"log_level": "info"}))).await;
    let agent = house.agent(&enrolled.id).await;
    house.store.close().await.unwrap();
    let events = vec![event(action.as_str()), event("policy:P:1")];
    let outcomes = acks::apply(&house.fleet, agent, events, now()).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        assert!(matches!(outcome, AckOutcome::Failed(_)), "{outcome:?}");
    }
}

#[actix_rt::test]
async fn f4_the_results_of_all_agents_are_in_the_actions_spaces() {
    let house = House::new().await;
    let (one, other) = (house.enroll().await.agent, house.enroll().await.agent);
    let action = store::NewAction {
        doc: "d".into(),
        action: "a".into(),
        kind: "SETTINGS".to_owned(),
        is_deliverable: true,
        agents: vec![one.id.clone(), other.id.clone()],
        mark: None,
        input_type: None,
        data: None,
        at: now(),
        expiration: Some(now().plus(std::time::Duration::from_secs(3600))),
        start_time: None,
        rollout_duration_seconds: None,
        timeout: None,
        user_id: None,
        namespaces: vec!["s1".to_owned()],
        signed: None,
        traceparent: None,
        secrets: Vec::new(),
        recall: None,
    };
    house.store.append_actions(vec![action]).await.unwrap();
    for agent in [&one, &other] {
        let done = ack(&house, agent, vec![event("a")]).await;
        assert_eq!(done, [AckOutcome::Done]);
    }
    let results = actions::results(&house.fleet, &"a".into(), ALL)
        .await
        .unwrap()
        .items;
    assert_eq!(results.len(), 2);
    for result in results {
        assert_eq!(result.namespaces, ["s1"]);
    }
}

#[actix_rt::test]
async fn d12_the_policy_that_was_assigned_before_is_not_confirmed() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    policies::create(&house.fleet, Some("Q"), named("Q"), now())
        .await
        .unwrap();
    let before = house.agent(&agent.id).await;
    house
        .store
        .reassign(std::slice::from_ref(&agent.id), &"Q".into(), now())
        .await
        .unwrap();
    // The acknowledgement had been read before the reassignment, and another comes after it.
    let early = acks::apply(&house.fleet, before, vec![event("policy:P:1")], now()).await;
    assert_eq!(early, [AckOutcome::Done]);
    assert_eq!(
        ack(&house, &agent, vec![event("policy:P:1")]).await,
        [AckOutcome::Done]
    );
    assert_eq!(house.agent(&agent.id).await.policy_revision, None);
}
