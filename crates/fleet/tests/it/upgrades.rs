//! Cases AC-41 to AC-42: when an upgrade is over, and how.

use fleet::{
    Action, Agent, AgentId, RawJson, Timestamp,
    acks::{self, AckEvent},
    actions::{self, ActionDraft, ActionKind},
    checkin::CheckinRequest,
};
use serde_json::{Value, json};

use crate::house::{House, raw};

struct Upgrades {
    house: House,
    agent: AgentId,
}

impl Upgrades {
    async fn new() -> Self {
        let house = House::new().await;
        let agent = house.enroll().await.agent.id;
        Self { house, agent }
    }

    async fn post(&self, kind: ActionKind, data: Value) -> Action {
        let draft = ActionDraft {
            data: Some(raw(&data)),
            ..ActionDraft::new(kind)
        };
        self.post_draft(draft).await
    }

    async fn post_draft(&self, draft: ActionDraft) -> Action {
        actions::post(
            &self.house.fleet,
            vec![self.agent.clone()],
            draft,
            Timestamp::now(),
        )
        .await
        .unwrap()
    }

    async fn upgrade(&self, version: &str) -> Action {
        self.post(ActionKind::Upgrade, json!({"version": version})).await
    }

    async fn ack(&self, action: &Action) {
        let event = AckEvent {
            action_id: action.action.to_string(),
            ..AckEvent::default()
        };
        let outcomes = acks::apply(
            &self.house.fleet,
            self.stored().await,
            vec![event],
            Timestamp::now(),
        )
        .await;
        assert_eq!(outcomes, [acks::AckOutcome::Done]);
    }

    async fn checkin(&self, version: &str, upgrade_details: Option<RawJson>) {
        let request = CheckinRequest {
            upgrade_details,
            ..self.house.runs(1)
        };
        drop(
            self.house
                .checkin_as(version, &self.agent, request)
                .await
                .unwrap(),
        );
    }

    async fn stored(&self) -> Agent {
        self.house.agent(&self.agent).await
    }

    /// State of the action, and whether the agent runs an upgrade and counts as upgraded.
    async fn seen(&self, action: &Action) -> (&'static str, bool, bool) {
        let progress = actions::progress(&self.house.fleet, &action.action)
            .await
            .unwrap();
        let stored = self.stored().await;
        let state = progress.state(Timestamp::now()).as_str();
        (
            state,
            stored.upgrade_started_at.is_some(),
            stored.upgraded_at.is_some(),
        )
    }

    async fn reason(&self, action: &Action) -> String {
        let page = fleet::PageRequest::first(10);
        let results = actions::results(&self.house.fleet, &action.action, page)
            .await
            .unwrap();
        results.items[0].error.clone().unwrap()
    }
}

fn details(action: &Action, state: &str, metadata: Value) -> Option<RawJson> {
    Some(raw(&json!({
        "target_version": "9.6.1", "action_id": action.action, "state": state, "metadata": metadata,
    })))
}

#[actix_rt::test]
async fn ac_41_an_upgrade_that_is_acknowledged_and_then_fails_has_failed() {
    let is = Upgrades::new().await;
    let action = is.upgrade("9.6.1").await;
    is.checkin("9.6.0", details(&action, "UPG_DOWNLOADING", json!({})))
        .await;
    is.ack(&action).await;
    assert_eq!(is.seen(&action).await, ("IN_PROGRESS", true, false));
    let failed = || details(&action, "UPG_FAILED", json!({"error_msg": "bad signature"}));
    is.checkin("9.6.0", failed()).await;
    assert_eq!(is.seen(&action).await, ("FAILED", false, false));
    assert_eq!(is.reason(&action).await, "bad signature");
    is.ack(&action).await;
    is.checkin("9.6.0", failed()).await;
    assert!(is.stored().await.upgrade_details.is_some(), "details are kept");
    is.checkin("9.6.0", None).await;
    assert_eq!(is.seen(&action).await, ("FAILED", false, false), "F15");
    assert_eq!(is.stored().await.upgrade_details, None);
}

#[actix_rt::test]
async fn ac_42_f8_ack_13_the_check_in_of_the_target_completes_it_with_and_without_details() {
    for has_details in [true, false] {
        let is = Upgrades::new().await;
        let action = is.upgrade("9.6.1").await;
        if has_details {
            is.checkin("9.6.0", details(&action, "UPG_REPLACING", json!({})))
                .await;
        }
        is.ack(&action).await;
        if !has_details {
            is.checkin("9.6.0", None).await;
        }
        assert_eq!(is.seen(&action).await, ("IN_PROGRESS", true, false));
        let watching = has_details
            .then(|| details(&action, "UPG_WATCHING", json!({})))
            .flatten();
        is.checkin("9.6.1-SNAPSHOT", watching).await;
        assert_eq!(is.seen(&action).await, ("COMPLETE", false, true), "{has_details}");
        is.checkin("9.6.1", None).await;
        assert_eq!(is.seen(&action).await, ("COMPLETE", false, true));
        assert_eq!(is.stored().await.upgrade_details, None);
    }
}

#[actix_rt::test]
async fn ac_42_the_version_may_stand_in_the_metadata_only() {
    let is = Upgrades::new().await;
    let action = is.upgrade("9.6.1").await;
    let request = CheckinRequest {
        local_metadata: Some(raw(&json!({"elastic": {"agent": {"version": "9.6.1"}}}))),
        ..is.house.runs(1)
    };
    drop(is.house.checkin(&is.agent, request).await.unwrap());
    assert_eq!(is.seen(&action).await, ("COMPLETE", false, true));
}

#[actix_rt::test]
async fn ac_41_an_upgrade_that_the_watcher_takes_back_has_failed() {
    let is = Upgrades::new().await;
    let action = is.upgrade("9.6.1").await;
    is.checkin("9.6.1", details(&action, "UPG_WATCHING", json!({})))
        .await;
    assert_eq!(is.seen(&action).await, ("COMPLETE", false, true));
    let back = details(&action, "UPG_ROLLBACK", json!({"reason": "watch failed"}));
    is.checkin("9.6.0", back).await;
    assert_eq!(is.seen(&action).await, ("FAILED", false, false));
    is.checkin("9.6.0", None).await;
    assert_eq!(is.seen(&action).await, ("FAILED", false, false));
}

#[actix_rt::test]
async fn ac_41b_an_ack_belongs_to_the_action_that_it_names() {
    let is = Upgrades::new().await;
    let (first, second) = (is.upgrade("9.6.1").await, is.upgrade("9.6.2").await);
    is.checkin("9.6.0", details(&first, "UPG_DOWNLOADING", json!({})))
        .await;
    is.checkin("9.6.0", details(&second, "UPG_DOWNLOADING", json!({})))
        .await;
    is.ack(&first).await;
    assert_eq!(is.seen(&second).await, ("IN_PROGRESS", true, false));
    assert_eq!(is.seen(&first).await, ("CANCELLED", true, false));
    let failed = AckEvent {
        action_id: first.action.to_string(),
        error: Some("late".to_owned()),
        ..AckEvent::default()
    };
    acks::apply(&is.house.fleet, is.stored().await, vec![failed], Timestamp::now()).await;
    assert_eq!(is.seen(&second).await, ("IN_PROGRESS", true, false));
    is.checkin("9.6.2", None).await;
    assert_eq!(is.seen(&second).await, ("COMPLETE", false, true));
    assert_eq!(is.seen(&first).await.0, "CANCELLED");
}

#[actix_rt::test]
async fn what_an_agent_acknowledges_without_running_it_ends_with_the_one_that_runs() {
    let is = Upgrades::new().await;
    let (first, second) = (is.upgrade("9.6.1").await, is.upgrade("9.6.2").await);
    is.checkin("9.6.0", details(&first, "UPG_DOWNLOADING", json!({})))
        .await;
    is.ack(&second).await;
    is.checkin("9.6.1", details(&first, "UPG_WATCHING", json!({})))
        .await;
    assert_eq!(is.seen(&first).await, ("COMPLETE", false, true));
    assert_eq!(is.seen(&second).await, ("CANCELLED", false, true));
}

#[actix_rt::test]
async fn ac_41c_a_cancelled_upgrade_and_its_cancel_come_to_an_end() {
    let is = Upgrades::new().await;
    let action = is.upgrade("9.6.1").await;
    let scheduled = details(
        &action,
        "UPG_SCHEDULED",
        json!({"scheduled_at": "2030-01-01T00:00:00Z"}),
    );
    is.checkin("9.6.0", scheduled).await;
    let cancel = is
        .post(ActionKind::Cancel, json!({"target_id": action.action}))
        .await;
    assert_eq!(is.seen(&cancel).await.0, "IN_PROGRESS");
    // It is delivered to the agent that still schedules the upgrade.
    let scheduled = details(
        &action,
        "UPG_SCHEDULED",
        json!({"scheduled_at": "2030-01-01T00:00:00Z"}),
    );
    is.checkin("9.6.0", scheduled).await;
    assert_eq!(is.seen(&cancel).await.0, "COMPLETE");
    assert_eq!(is.seen(&action).await, ("IN_PROGRESS", true, false));
    // The agent drops it, and acknowledges neither.
    is.checkin("9.6.0", None).await;
    assert_eq!(is.seen(&action).await, ("CANCELLED", false, false));
}

#[actix_rt::test]
async fn ac_41c_what_is_cancelled_while_the_agent_is_away_never_reaches_it() {
    let is = Upgrades::new().await;
    let action = is.upgrade("9.6.1").await;
    let settings = is.post(ActionKind::Settings, json!({"log_level": "info"})).await;
    let cancel = |target: &Action| json!({"target_id": target.action});
    is.post(ActionKind::Cancel, cancel(&action)).await;
    let (state, _, _) = is.seen(&action).await;
    assert_eq!(state, "CANCELLED", "told at once");
    let answer = is.house.answer(&is.agent, is.house.runs(1)).await;
    let types = |answer: &Value| {
        let actions = answer["actions"].as_array().unwrap();
        actions
            .iter()
            .map(|action| action["type"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(types(&answer), ["SETTINGS", "CANCEL"]);
    is.checkin("9.6.0", None).await;
    assert_eq!(is.seen(&action).await, ("CANCELLED", false, false));
    // One that it has answered is not taken back.
    is.ack(&settings).await;
    is.post(ActionKind::Cancel, cancel(&settings)).await;
    assert_eq!(is.seen(&settings).await.0, "COMPLETE");
    let draft = actions::ActionDraft {
        data: Some(raw(&json!({"target_id": "none"}))),
        ..actions::ActionDraft::new(ActionKind::Cancel)
    };
    let unknown = actions::post(&is.house.fleet, vec![is.agent.clone()], draft, Timestamp::now()).await;
    let told = unknown.unwrap_err().to_string();
    assert!(told.contains("action none does not exist"), "{told}");
}

#[actix_rt::test]
async fn ac_41c_an_upgrade_that_a_restart_of_the_agent_ends_has_failed() {
    let is = Upgrades::new().await;
    let action = is.upgrade("9.6.1").await;
    is.checkin("9.6.0", details(&action, "UPG_DOWNLOADING", json!({})))
        .await;
    is.checkin("9.6.0", None).await;
    assert_eq!(is.seen(&action).await, ("FAILED", false, false));
    assert!(is.reason(&action).await.contains("9.6.0"));
}

#[actix_rt::test]
async fn an_upgrade_that_nobody_ran_expires() {
    let is = Upgrades::new().await;
    let now = Timestamp::now();
    let draft = ActionDraft {
        data: Some(raw(&json!({"version": "9.6.1"}))),
        expiration: Some(now.plus(std::time::Duration::from_millis(300))),
        ..ActionDraft::new(ActionKind::Upgrade)
    };
    let action = is.post_draft(draft).await;
    crate::house::eventually("its time is up", async || is.seen(&action).await.0 == "EXPIRED").await;
    is.checkin("9.6.0", None).await;
    assert_eq!(
        is.seen(&action).await,
        ("EXPIRED", false, false),
        "the agent is not updating any more"
    );
}
