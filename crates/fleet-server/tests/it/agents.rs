//! Enrol, check in, be changed, acknowledge.

use std::time::{Duration, Instant};

use serde_json::json;
use test_support::{
    AdminClient, LIMIT, QuickstartFacts, Request, ServerProcess, SimulatedAgent, server_command,
};

pub(crate) struct Scene {
    pub(crate) server: ServerProcess,
    pub(crate) facts: QuickstartFacts,
    pub(crate) admin: AdminClient,
}

impl Scene {
    pub(crate) fn start() -> Self {
        Self::of(
            server_command!()
                .quickstart()
                .set("inputs.0.server.timeouts.checkin_jitter", "0")
                .start(),
        )
    }

    pub(crate) fn of(server: ServerProcess) -> Self {
        let facts = server.quickstart_facts();
        let admin = AdminClient::new(facts.client("admin_url"), facts.admin_api_key());
        Self { server, facts, admin }
    }

    pub(crate) async fn enroll(&self) -> SimulatedAgent {
        let client = self.facts.client("url");
        SimulatedAgent::enroll(&client, self.facts.enrollment_token())
            .await
            .unwrap()
    }
}

#[actix_rt::test]
async fn chk_24_c07_a_waiting_agent_is_answered_within_a_second_of_the_change() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    assert_eq!(first.policy().unwrap()["id"], scene.facts.policy_id());
    agent.apply(&first).await.unwrap();

    agent.begin_checkin().await.unwrap();
    let changed = Instant::now();
    let revision = scene.admin.touch_policy(scene.facts.policy_id()).await;
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    let took = changed.elapsed();
    assert_eq!(answer.policy().unwrap()["revision"], revision);
    agent.apply(&answer).await.unwrap();
    assert_eq!(scene.admin.agent(&agent.id).await["policy_revision"], revision);
    // The promise; the roll-out itself takes some 60 ms.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[actix_rt::test]
async fn chk_20_21_ack_06_an_action_is_delivered_once_and_its_result_is_kept() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    agent.begin_checkin().await.unwrap();
    scene
        .admin
        .post_action(
            &agent.id,
            &json!({"type": "SETTINGS", "data": {"log_level": "debug"}}),
        )
        .await;
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    let [action] = answer.actions.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(action["data"], json!({"log_level": "debug"}));
    let acked = agent.ack(&[action]).await.unwrap();
    assert_eq!(
        acked,
        json!({"action": "acks", "items": [{"status": 200, "message": "OK"}]})
    );
    assert_eq!(agent.ack(&[action]).await.unwrap(), acked, "a repeat is harmless");

    agent.begin_checkin().await.unwrap();
    scene
        .admin
        .post_action(&agent.id, &json!({"type": "UNENROLL"}))
        .await;
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    assert_eq!(answer.actions.len(), 1, "the first one does not come again");
    assert_eq!(answer.actions[0]["type"], "UNENROLL");
    assert_eq!(answer.actions[0]["data"], json!(null));
    agent.ack(&[&answer.actions[0]]).await.unwrap();
    let refused = agent.checkin().await.unwrap_err();
    assert_eq!(
        (refused.status(), refused.name().as_str()),
        (401, "ErrAgentInactive")
    );
    assert_eq!(scene.admin.agent(&agent.id).await["status"], "unenrolled");
}

#[actix_rt::test]
async fn a_client_that_goes_away_frees_its_poll_at_once() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    agent.begin_checkin().await.unwrap();
    let http = test_support::HttpClient::for_url(scene.facts.get("http_url"), "");
    crate::outside::until_metric(&http, "fleet_server_checkins_waiting", 1.0).await;
    agent.disconnect();
    crate::outside::until_metric(&http, "fleet_server_checkins_waiting", 0.0).await;
}

#[actix_rt::test]
async fn a_revoked_token_admits_nobody_and_a_forced_unenrolment_ends_the_poll() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    let token = scene.admin.create_token(scene.facts.policy_id()).await;
    scene.admin.revoke_token(token["id"].as_str().unwrap()).await;
    let client = scene.facts.client("url");
    let refused = SimulatedAgent::enroll(&client, token["api_key"].as_str().unwrap())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status(), 401);

    agent.begin_checkin().await.unwrap();
    scene.admin.force_unenroll(&agent.id).await;
    let refused = agent.end_checkin(LIMIT).await.unwrap_err();
    assert_eq!(
        (refused.status(), refused.name().as_str()),
        (401, "ErrAgentInactive")
    );
}

/// Every place for check-ins is taken, and hundreds more are refused meanwhile.
#[actix_rt::test]
async fn ac_70_status_answers_an_access_key_under_load_and_at_the_check_ins_cap() {
    let scene = Scene::of(
        server_command!()
            .quickstart()
            .set("inputs.0.server.limits.checkin_limit.max", "4")
            .start(),
    );
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut agent = scene.enroll().await;
        let first = agent.checkin().await.unwrap();
        agent.apply(&first).await.unwrap();
        agent.begin_checkin().await.unwrap();
        waiting.push(agent);
    }
    let http = test_support::HttpClient::for_url(scene.facts.get("http_url"), "");
    crate::outside::until_metric(&http, "fleet_server_checkins_waiting", 4.0).await;
    let late = scene.enroll().await;
    let client = scene.facts.client("url");
    let checkin = late.checkin_request();
    let status = Request::get("/api/status").header("Authorization", &format!("ApiKey {}", late.access_key));
    let load = async {
        for _ in 0..10 {
            let refused = (0..20).map(|_| client.request(&checkin));
            for refused in futures_util::future::join_all(refused).await {
                assert_eq!(refused.unwrap().status, 429);
            }
        }
    };
    let asking = async {
        for _ in 0..10 {
            let answer = client.request(&status).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(
                answer.json()["version"]["number"].is_string(),
                "{}",
                answer.text()
            );
        }
    };
    // No agent waits longer than 15 s for it.
    let asking = tokio::time::timeout(Duration::from_secs(15), asking);
    let ((), asked) = tokio::join!(load, asking);
    asked.unwrap();
}
