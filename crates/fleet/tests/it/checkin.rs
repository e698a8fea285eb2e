//! Cases CHK and C: what a check-in stores, and what it is answered.

use std::time::Duration;

use fleet::{
    ActionId, FleetError, RawJson, Settings, Timestamp, UnhealthyReason, actions, agents,
    checkin::{self, Begun, CheckinRequest},
};
use serde_json::{Value, json};

use crate::house::{House, answered, eventually, online, raw, settings_action, shown};

fn now() -> Timestamp {
    Timestamp::now()
}

#[actix_rt::test]
async fn chk_01_d1_a_fresh_agent_gets_its_policy_at_once() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let answer = house.answer(&agent.id, online()).await;
    assert_eq!(answer["ack_token"], "");
    assert_eq!(answer["actions"].as_array().unwrap().len(), 1);
    let action = &answer["actions"][0];
    assert_eq!(
        (&action["id"], &action["type"]),
        (&json!("policy:P:1"), &json!("POLICY_CHANGE"))
    );
    assert_eq!(action["agent_id"], agent.id.as_str());
    let policy = &action["data"]["policy"];
    assert_eq!((&policy["id"], &policy["revision"]), (&json!("P"), &json!(1)));
    assert_eq!(policy["agent"]["monitoring"]["enabled"], false);
    assert_eq!(policy["outputs"]["default"]["type"], "elasticsearch");
}

#[actix_rt::test]
async fn chk_06_c24_a_check_in_needs_a_status() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    for status in [None, Some(String::new())] {
        let Err(refused) = house
            .checkin(&agent.id, CheckinRequest { status, ..online() })
            .await
        else {
            panic!("accepted")
        };
        assert_eq!(refused, FleetError::StatusMissing);
    }
}

#[actix_rt::test]
async fn chk_20_21_22_c3_c4_c5_an_action_is_delivered_once() {
    let house = House::with(Settings {
        checkin_flush: Duration::from_millis(10),
        ..Settings::default()
    })
    .await;
    let agent = house.enroll().await.agent;
    let action = actions::post(
        &house.fleet,
        vec![agent.id.clone()],
        settings_action("debug"),
        now(),
    )
    .await
    .unwrap();
    let answer = house.answer(&agent.id, house.runs(1)).await;
    let delivered = &answer["actions"][0];
    assert_eq!(
        (&delivered["id"], &delivered["type"]),
        (&json!(action.action.as_str()), &json!("SETTINGS"))
    );
    assert_eq!(delivered["data"], json!({"log_level": "debug"}));
    let token = answer["ack_token"].as_str().unwrap().to_owned();
    assert_eq!(token, action.doc.as_str());

    let again = house.answer(&agent.id, house.runs(1)).await;
    assert_eq!(
        again["actions"][0]["id"], delivered["id"],
        "without its token it is delivered again"
    );
    drop(
        house
            .poll(
                &agent.id,
                CheckinRequest {
                    ack_token: Some(token),
                    ..house.runs(1)
                },
            )
            .await,
    );
    eventually("the position is stored", async || {
        house.agent(&agent.id).await.action_position.is_some()
    })
    .await;
    let named = house
        .store
        .pending_actions(&agent.id, Some(&action.doc), None, now(), 10)
        .await
        .unwrap();
    assert_eq!(house.agent(&agent.id).await.action_position, named.position);
    for token in [None, Some(String::new()), Some("unknown".to_owned())] {
        drop(
            house
                .poll(
                    &agent.id,
                    CheckinRequest {
                        ack_token: token,
                        ..house.runs(1)
                    },
                )
                .await,
        );
    }
}

#[actix_rt::test]
async fn chk_23_c7_a_waiting_agent_is_answered_and_the_other_finds_it_later() {
    let house = House::new().await;
    let (x, y) = (house.enroll().await.agent, house.enroll().await.agent);
    let waiting = house.poll(&x.id, house.runs(1)).await;
    let targets = vec![x.id.clone(), y.id.clone()];
    actions::post(&house.fleet, targets, settings_action("info"), now())
        .await
        .unwrap();
    assert_eq!(answered(waiting).await["actions"][0]["type"], "SETTINGS");
    assert_eq!(
        house.answer(&y.id, house.runs(1)).await["actions"][0]["agent_id"],
        y.id.as_str()
    );
}

#[actix_rt::test]
async fn c8_c9_starts_are_spread_over_the_targets_on_both_paths() {
    let house = House::new().await;
    let ids: Vec<_> = [house.enroll().await, house.enroll().await, house.enroll().await]
        .into_iter()
        .map(|enrolled| enrolled.agent.id)
        .collect();
    let waiting = house.poll(&ids[1], house.runs(1)).await;
    let draft = actions::ActionDraft {
        start_time: Timestamp::parse("2030-01-01T12:00:00Z"),
        rollout_duration_seconds: Some(600),
        data: Some(raw(&json!({"version": "9.6.1"}))),
        ..actions::ActionDraft::new(actions::ActionKind::Upgrade)
    };
    actions::post(&house.fleet, ids.clone(), draft, now())
        .await
        .unwrap();
    let start = |answer: serde_json::Value| answer["actions"][0]["start_time"].as_str().unwrap().to_owned();
    assert_eq!(
        start(house.answer(&ids[0], house.runs(1)).await),
        "2030-01-01T12:00:00Z"
    );
    assert_eq!(start(answered(waiting).await), "2030-01-01T12:03:20Z");
    assert_eq!(
        start(house.answer(&ids[2], house.runs(1)).await),
        "2030-01-01T12:06:40Z"
    );
}

#[actix_rt::test]
async fn c26_attack_11_a_newer_poll_takes_over_and_the_older_is_answered_empty_at_once() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let first = house.poll(&agent.id, house.runs(1)).await;
    let second = house.poll(&agent.id, house.runs(1)).await;
    assert_eq!(house.fleet.waiting(), 1, "the older keeps nothing");
    assert!(answered(first).await["actions"].is_null());
    assert_eq!(house.fleet.waiting(), 1, "its end leaves the newer alone");
    actions::post(
        &house.fleet,
        vec![agent.id.clone()],
        settings_action("info"),
        now(),
    )
    .await
    .unwrap();
    assert_eq!(answered(second).await["actions"][0]["type"], "SETTINGS");
    assert_eq!(house.fleet.waiting(), 0);
}

#[actix_rt::test]
async fn h10_m3_an_action_appended_while_subscribing_is_delivered_exactly_once() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let mut token = None;
    for round in 0..50 {
        let request = CheckinRequest {
            ack_token: token,
            ..house.runs(1)
        };
        let (begun, posted) = tokio::join!(
            house.checkin(&agent.id, request),
            actions::post(
                &house.fleet,
                vec![agent.id.clone()],
                settings_action("info"),
                now()
            )
        );
        let answer = match begun.unwrap() {
            fleet::checkin::Begun::Reply(reply) => shown(&reply),
            fleet::checkin::Begun::Wait(waiting) => answered(waiting).await,
        };
        let delivered: Vec<_> = answer["actions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["id"].clone())
            .collect();
        assert_eq!(
            delivered,
            vec![json!(posted.unwrap().action.as_str())],
            "round {round}"
        );
        token = Some(answer["ack_token"].as_str().unwrap().to_owned());
    }
}

#[actix_rt::test]
async fn c17_chk_49_the_stop_answers_every_poll() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    house.fleet.release_waiters();
    assert_eq!(
        answered(waiting).await,
        json!({"action": "checkin", "ack_token": ""})
    );
    let late = house.poll(&agent.id, house.runs(1)).await;
    assert_eq!(
        answered(late).await,
        json!({"action": "checkin", "ack_token": ""})
    );
}

/// C19 to C23: of what changes and changes back before it is written, the last counts, whatever was read meanwhile.
#[actix_rt::test]
async fn c19_c20_c21_c23_a_change_that_is_taken_back_before_it_is_written_is_not_written() {
    let house = House::new().await;
    let id = house.enroll().await.agent.id;
    let said = async |version: &str, healthy: bool, list: Value, message: &str| {
        let status = if healthy { "HEALTHY" } else { "FAILED" };
        let units = json!([{"id": "u", "type": "input", "status": status}]);
        let request = CheckinRequest {
            message: Some(message.to_owned()),
            local_metadata: Some(raw(&json!({"healthy": healthy}))),
            components: Some(raw(&json!([{"id": "c", "status": status, "units": units}]))),
            rollbacks: Some(raw(&list)),
            ..house.runs(1)
        };
        match house.checkin_as(version, &id, request).await.unwrap() {
            Begun::Wait(waiting) => drop(waiting),
            Begun::Reply(reply) => panic!("answered: {}", shown(&reply)),
        }
    };
    let rollback = json!([{"version": "9.5.0", "valid_until": "2030-01-01T00:00:00Z"}]);
    let settled = async |message: &str| {
        eventually("it is stored", async || {
            agents::get(&house.fleet, &id, now()).await.unwrap();
            house.agent(&id).await.last_checkin_message.as_deref() == Some(message)
        })
        .await;
        house.agent(&id).await
    };
    for round in 0..3 {
        said("9.6.0", true, json!([]), "first").await;
        settled("first").await;
        said("9.6.1", false, rollback.clone(), "changed").await;
        if round == 1 {
            settled("changed").await;
        }
        let last = format!("taken back {round}");
        said("9.6.0", true, json!([]), &last).await;
        let stored = settled(&last).await;
        assert_eq!(stored.unhealthy_reason, [], "round {round}");
        assert_eq!(
            stored.local_metadata,
            Some(raw(&json!({"healthy": true}))),
            "round {round}"
        );
        assert!(
            stored.components.unwrap().as_str().contains("HEALTHY"),
            "round {round}"
        );
        assert_eq!(stored.version, "9.6.0", "round {round}");
        assert_eq!(stored.rollbacks.unwrap().as_str(), "[]", "round {round}");
    }
}

#[actix_rt::test]
async fn chk_31_32_34_c25_what_is_written_with_the_batch() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let components =
        json!([{"id": "c", "status": "FAILED", "units": [{"id": "u", "type": "input", "status": "FAILED"}]}]);
    let request = CheckinRequest {
        local_metadata: Some(raw(&json!({"host": {"hostname": "h"}}))),
        components: Some(raw(&components)),
        rollbacks: Some(raw(
            &json!([{"version": "9.5.0", "valid_until": "2030-01-01T00:00:00Z"}]),
        )),
        ..house.runs(1)
    };
    let Begun::Wait(waiting) = house.checkin_as("9.6.1", &agent.id, request).await.unwrap() else {
        panic!("answered")
    };
    drop(waiting);
    house.flush().await;
    let stored = house.agent(&agent.id).await;
    assert_eq!((&stored.version, &stored.id), (&"9.6.1".to_owned(), &agent.id));
    assert_eq!(stored.last_checkin_status.as_deref(), Some("online"));
    assert_eq!(stored.last_checkin_message.as_deref(), Some("Running"));
    assert!(stored.last_checkin.is_some());
    assert_eq!(stored.unhealthy_reason, vec![UnhealthyReason::Input]);
    assert_eq!(
        stored.local_metadata.unwrap().as_str(),
        r#"{"host":{"hostname":"h"}}"#
    );
    assert!(stored.rollbacks.unwrap().as_str().contains("9.5.0"));
}

/// From the stored record, through the check-in, to what is stored then.
#[actix_rt::test]
async fn chk_33_c19_c20_c21_c22_c23_a_check_in_changes_what_it_says_and_nothing_else() {
    let settings = Settings {
        checkin_flush: Duration::from_millis(10),
        ..Settings::default()
    };
    let house = House::with(settings).await;
    let id = house.enroll().await.agent.id;
    let json = |text: &str| RawJson::parse(text.to_owned()).unwrap();
    let before = store::CheckinRecord {
        agent: id.clone(),
        at: now().minus(Duration::from_secs(60)),
        status: Some("error".to_owned()),
        message: Some("before".to_owned()),
        version: None,
        local_metadata: Some(json(r#"{"a":1,"b":2}"#)),
        components: Some(json(r#""damaged""#)),
        unhealthy_reason: Some(vec![UnhealthyReason::Other]),
        positions: Vec::new(),
        rollbacks: Some(json(
            r#"[{"version":"9.5.0","valid_until":"2030-01-01T00:00:00Z"}]"#,
        )),
        clears_audit: false,
        collector: None,
    };
    house.store.record_checkins(vec![before]).await.unwrap();
    let mark = store::AuditMark {
        reason: "uninstall".to_owned(),
        time: "2026-01-02T03:04:05Z".to_owned(),
    };
    house.store.mark_audit(&id, mark, now()).await.unwrap();
    assert!(house.agent(&id).await.audit.is_some());

    let said = async |message: &str, metadata: &str, components: &str| {
        let request = CheckinRequest {
            message: Some(message.to_owned()),
            local_metadata: Some(json(metadata)),
            components: Some(json(components)),
            ..house.runs(1)
        };
        drop(house.poll(&id, request).await);
        eventually("it is stored", async || {
            house.agent(&id).await.last_checkin_message.as_deref() == Some(message)
        })
        .await;
        house.agent(&id).await
    };
    let text = |stored: &Option<RawJson>| stored.as_ref().map(|json| json.as_str().to_owned()).unwrap();

    let degraded =
        r#"[{"id":"c","status":"DEGRADED","units":[{"id":"u","type":"input","status":"DEGRADED"}]}]"#;
    let stored = said("degraded", r#"{"b":2,"a":1}"#, degraded).await;
    assert_eq!(
        text(&stored.local_metadata),
        r#"{"a":1,"b":2}"#,
        "C19: not written"
    );
    assert_eq!(text(&stored.components), degraded, "CHK-33");
    assert_eq!(stored.unhealthy_reason, [UnhealthyReason::Input], "C21");
    assert_eq!((stored.audit, stored.unenrolled_at), (None, None), "C22");
    assert_eq!(stored.last_checkin_status.as_deref(), Some("online"), "C22");
    assert_eq!(text(&stored.rollbacks), "[]", "C23");

    let healthy = r#"[{"id":"c","status":"HEALTHY","units":[{"id":"u","type":"input","status":"HEALTHY"}]}]"#;
    let stored = said("healthy", r#"{"a":1}"#, healthy).await;
    assert_eq!(
        text(&stored.local_metadata),
        r#"{"a":1}"#,
        "C20: replaced, not merged"
    );
    assert_eq!(text(&stored.components), healthy);
    assert_eq!(stored.unhealthy_reason, [], "C21: cleared");
}

#[actix_rt::test]
async fn chk_35_36_37_ac_65_d6_d8_the_reported_pair_is_stored_before_the_answer() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    house.change_policy().await;
    drop(house.poll(&agent.id, house.runs(2)).await);
    let stored = house.agent(&agent.id).await;
    assert_eq!(
        (stored.reported_policy, stored.policy_revision),
        (Some(house.policy.clone()), Some(2))
    );
    for (reported, why) in [(3, "beyond the newest"), (1, "behind the newest")] {
        let answer = house.answer(&agent.id, house.runs(reported)).await;
        assert_eq!(answer["actions"][0]["id"], "policy:P:2", "{why}");
        assert_eq!(house.agent(&agent.id).await.policy_revision, Some(reported));
    }
}

#[actix_rt::test]
async fn chk_40_d9_reported_pairs_can_be_ignored() {
    let settings = fleet::Settings {
        ignores_reported_policy: true,
        ..fleet::Settings::default()
    };
    let house = House::with(settings).await;
    let agent = house.enroll().await.agent;
    assert_eq!(
        house.answer(&agent.id, house.runs(1)).await["actions"][0]["id"],
        "policy:P:1"
    );
    assert_eq!(house.agent(&agent.id).await.reported_policy, None);
}

#[actix_rt::test]
async fn chk_41_to_46_f11_to_f15_upgrade_details() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let details = |action: &ActionId, state: &str, metadata: serde_json::Value| {
        let details = json!({"target_version": "9.6.1", "action_id": action.as_str(), "state": state, "metadata": metadata});
        CheckinRequest {
            upgrade_details: Some(raw(&details)),
            ..house.runs(1)
        }
    };
    drop(
        house
            .poll(&agent.id, details(&"unknown".into(), "UPG_REQUESTED", json!({})))
            .await,
    );
    assert_eq!(house.agent(&agent.id).await.upgrade_details, None, "F13");

    let draft = actions::ActionDraft {
        data: Some(raw(&json!({"version": "9.6.1"}))),
        ..actions::ActionDraft::new(actions::ActionKind::Upgrade)
    };
    let action = actions::post(&house.fleet, vec![agent.id.clone()], draft, now())
        .await
        .unwrap();
    assert!(house.agent(&agent.id).await.upgrade_started_at.is_some());
    let with_token = |request: CheckinRequest| CheckinRequest {
        ack_token: Some(action.doc.to_string()),
        ..request
    };
    let Err(refused) = house
        .checkin(&agent.id, details(&action.action, "UPG_FAILED", json!({})))
        .await
    else {
        panic!("accepted")
    };
    assert!(
        matches!(refused, FleetError::InvalidUpgradeDetails { .. }),
        "F12: {refused}"
    );
    let downloading = details(
        &action.action,
        "UPG_DOWNLOADING",
        json!({"download_rate": "1MBps"}),
    );
    drop(house.poll(&agent.id, with_token(downloading)).await);
    let stored: RawJson = house.agent(&agent.id).await.upgrade_details.unwrap();
    assert!(stored.as_str().contains("1000000"), "F11: {stored:?}");
    let failed = details(&action.action, "UPG_FAILED", json!({"error_msg": "e"}));
    drop(house.poll(&agent.id, with_token(failed)).await);
    drop(house.poll(&agent.id, with_token(house.runs(1))).await);
    let stored = house.agent(&agent.id).await;
    assert_eq!(
        (stored.upgrade_details, stored.upgraded_at),
        (None, None),
        "F15: a failure is not a success"
    );
    let watching = details(&action.action, "UPG_WATCHING", json!({}));
    drop(house.poll(&agent.id, with_token(watching)).await);
    assert_eq!(
        house.agent(&agent.id).await.upgraded_at,
        None,
        "the version is the old one"
    );
    drop(
        house
            .checkin_as("9.6.1", &agent.id, with_token(house.runs(1)))
            .await
            .unwrap(),
    );
    let stored = house.agent(&agent.id).await;
    assert_eq!(stored.upgrade_details, None);
    assert!(
        stored.upgraded_at.is_some() && stored.upgrade_started_at.is_none(),
        "CHK-46, F14"
    );
}

#[actix_rt::test]
async fn chk_50_c18_last_checkin_advances_while_an_agent_waits() {
    let settings = fleet::Settings {
        checkin_timestamp: Duration::ZERO,
        checkin_flush: Duration::from_millis(50),
        ..fleet::Settings::default()
    };
    let house = House::with(settings).await;
    let agent = house.enroll().await.agent;
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    // The first batch is the check-in itself, the next two its renewals.
    let mut last = None;
    for record in ["the check-in", "a renewal", "another"] {
        eventually(record, async || house.agent(&agent.id).await.last_checkin > last).await;
        last = house.agent(&agent.id).await.last_checkin;
    }
    assert_eq!(
        house.agent(&agent.id).await.last_checkin_status.as_deref(),
        Some("online")
    );
    drop(waiting);
}

#[actix_rt::test]
async fn b3_a_forced_unenrolment_ends_the_open_poll() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let waiting = house.poll(&agent.id, house.runs(1)).await;
    agents::force_unenroll(&house.fleet, &agent.id, now())
        .await
        .unwrap();
    let Err(ended) = actix_rt::time::timeout(crate::house::LIMIT, waiting.answer())
        .await
        .expect("the poll ends")
    else {
        panic!("answered")
    };
    assert!(matches!(ended, FleetError::AgentInactive { .. }));
}

/// The check-in has read its agent, and is still on its way when the agent is unenrolled.
#[actix_rt::test]
async fn an_unenrolment_between_authentication_and_poll_ends_the_poll() {
    let house = House::new().await;
    let (agent, marker) = (house.enroll().await.agent, house.enroll().await.agent);
    let told = house.poll(&marker.id, house.runs(1)).await;
    let read = house.agent(&agent.id).await;
    for one in [&agent, &marker] {
        agents::force_unenroll(&house.fleet, &one.id, now())
            .await
            .unwrap();
    }
    // Once the marker is told, the change of the agent has passed by.
    assert!(told.answer().await.is_err());
    let request = house.runs(1);
    let begun = checkin::begin(&house.fleet, read, "9.6.0", request, Duration::ZERO, now()).await;
    let Ok(Begun::Wait(waiting)) = begun else {
        panic!("it waits")
    };
    let ended = actix_rt::time::timeout(crate::house::LIMIT, waiting.answer()).await;
    assert!(matches!(
        ended.expect("the poll ends"),
        Err(FleetError::AgentInactive { .. })
    ));
}

#[actix_rt::test]
async fn attack_04_a_check_in_is_served_whatever_the_size_of_its_fields_and_nothing_over_a_bound_is_kept() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    let first = CheckinRequest {
        local_metadata: Some(raw(&json!({"a": 1}))),
        components: Some(raw(&json!([{"id": "c"}]))),
        ..house.runs(1)
    };
    drop(house.poll(&agent.id, first).await);
    let large = |bytes: usize| "x".repeat(bytes);
    let second = CheckinRequest {
        message: Some(large(1 << 20)),
        local_metadata: Some(raw(&json!({"a": large(1 << 20)}))),
        components: Some(raw(&json!([{"id": large(2 << 20)}]))),
        rollbacks: Some(raw(&json!([{"version": large(1 << 20), "valid_until": "x"}]))),
        upgrade_details: Some(raw(&json!({"action_id": "u", "state": large(1 << 20)}))),
        ..house.runs(1)
    };
    drop(house.poll(&agent.id, second).await);
    for field in [
        "message",
        "local_metadata",
        "components",
        "rollbacks",
        "upgrade_details",
    ] {
        let name = format!("fleet_server_checkin_fields_over_bound_total{{field=\"{field}\"}}");
        assert!((house.metric(&name) - 1.0).abs() < 0.1, "{field}");
    }
    for (field, request) in [
        (
            "status",
            CheckinRequest {
                status: Some(large(1025)),
                ..house.runs(1)
            },
        ),
        (
            "agent_policy_id",
            CheckinRequest {
                agent_policy_id: Some(large(1025)),
                ..house.runs(1)
            },
        ),
        (
            "ack_token",
            CheckinRequest {
                ack_token: Some(large(1025)),
                ..house.runs(1)
            },
        ),
    ] {
        let refused = house.checkin(&agent.id, request).await.err().unwrap();
        assert_eq!(
            refused,
            FleetError::TooLong {
                what: field,
                most: 1024
            }
        );
    }
    house.flush().await;
    let stored = house.agent(&agent.id).await;
    assert_eq!(stored.local_metadata, Some(raw(&json!({"a": 1}))));
    assert_eq!(stored.components, Some(raw(&json!([{"id": "c"}]))));
    let message = stored.last_checkin_message.unwrap();
    assert!(
        message.len() < 17 << 10 && message.ends_with("more bytes)"),
        "{}",
        message.len()
    );
    assert_eq!(
        (stored.upgrade_details, stored.last_checkin_status.as_deref()),
        (None, Some("online"))
    );
}

/// With a flush that never comes by itself, so that whoever waited for it would wait for ever.
#[actix_rt::test]
async fn h9_20_000_agents_check_in_without_waiting_for_the_write_and_are_shown_at_once() {
    const AGENTS: usize = 20_000;
    let settings = fleet::Settings {
        checkin_flush: Duration::from_secs(24 * 3600),
        checkin_timestamp: Duration::from_secs(24 * 3600),
        ..fleet::Settings::default()
    };
    assert_eq!(fleet::Settings::default().checkin_flush, Duration::from_secs(10));
    let house = House::with(settings).await;
    let mut agents = Vec::with_capacity(AGENTS);
    while agents.len() < AGENTS {
        // Together, so that they share the store's commits.
        let some = futures_util::future::join_all((0..500).map(|_| house.enroll())).await;
        agents.extend(some.into_iter().map(|enrolled| enrolled.agent));
    }
    for agent in &agents {
        // A poll that waits has had its record taken.
        drop(house.poll(&agent.id, house.runs(1)).await);
    }
    assert_eq!(
        house.metric("fleet_server_checkin_flush_duration_seconds_count"),
        0.0
    );
    assert_eq!(house.agent(&agents[0].id).await.last_checkin, None);
    let shown = async {
        eventually("all are shown", async || {
            let counts = fleet::agents::counts(&house.fleet, &fleet::AgentQuery::default(), now())
                .await
                .unwrap();
            counts.get(&fleet::AgentStatus::Online) == Some(&(AGENTS as u64))
        })
        .await;
    };
    actix_rt::time::timeout(Duration::from_secs(10), shown)
        .await
        .expect("within 10 seconds");
}
