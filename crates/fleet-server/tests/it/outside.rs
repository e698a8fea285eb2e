//! Seen from outside: metrics, probes, logs, stop.

use std::{collections::BTreeSet, time::Instant};

use test_support::{HttpClient, LIMIT, Request};

use crate::agents::Scene;

async fn scrape(http: &HttpClient) -> String {
    let answer = http.request(&Request::get("/metrics")).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

pub(crate) async fn until_metric(http: &HttpClient, name: &str, value: f64) {
    let started = Instant::now();
    loop {
        let text = scrape(http).await;
        let line = text
            .lines()
            .find(|line| line.split([' ', '{']).next() == Some(name));
        let shown = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        if shown == Some(value) {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{name} is {shown:?}, not {value}");
        actix_rt::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[actix_rt::test]
async fn every_metric_of_operations_is_there() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    until_metric(&http, "fleet_server_policy_rollout_pending", 0.0).await;
    let text = scrape(&http).await;
    let described: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let operations = include_str!("../../../../docs/OPERATIONS.md");
    let documented: BTreeSet<&str> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `fleet_server_"))
        .filter_map(|line| line.split(['`', '{']).next())
        .collect();
    assert!(documented.len() > 10, "{documented:?}");
    for name in documented {
        let full = format!("fleet_server_{name}");
        let family = full.strip_suffix("_total").unwrap_or(&full);
        assert!(
            described.contains(family) || described.contains(full.as_str()),
            "{full} is not in\n{text}"
        );
    }
    assert_eq!(http.request(&Request::get("/livez")).await.unwrap().status, 200);
    assert_eq!(http.request(&Request::get("/readyz")).await.unwrap().status, 200);
}

#[actix_rt::test]
async fn chk_49_sigterm_answers_polls_with_200_and_ends_with_0() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    agent.begin_checkin().await.unwrap();
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    until_metric(&http, "fleet_server_checkins_waiting", 1.0).await;
    scene.server.signal(test_support::Signal::TERM);
    let answer = agent.end_checkin(LIMIT).await.unwrap();
    assert!(answer.actions.is_empty() && answer.ack_token.is_empty());
    scene.server.expect_exit(0);
}

#[actix_rt::test]
async fn t80_no_secret_in_any_log_line() {
    let scene = Scene::of(
        test_support::server_command!()
            .quickstart()
            .set("logging.level", "debug")
            .start(),
    );
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    scene.admin.touch_policy(scene.facts.policy_id()).await;
    scene.server.wait_for_log("policy revision made");
    let key = std::fs::read_to_string(scene.facts.get("key")).unwrap();
    let key_line = key.lines().nth(1).unwrap().to_owned();
    let secrets = [
        scene.facts.enrollment_token().to_owned(),
        scene.facts.admin_api_key().to_owned(),
        agent.access_key.clone(),
        key_line,
    ];
    for line in scene.server.log() {
        for secret in &secrets {
            assert!(!line.text.contains(secret.as_str()), "{}", line.text);
        }
    }
}
