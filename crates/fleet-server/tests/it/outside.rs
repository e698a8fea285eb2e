//! Seen from outside: metrics, probes, logs, stop.

use std::{collections::BTreeSet, time::Instant};

use test_support::{HttpClient, LIMIT, Request, eventually};

use crate::agents::Scene;

async fn scrape(http: &HttpClient) -> String {
    let answer = http.request(&Request::get("/metrics")).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

/// `name` is a whole series, or a family, whose first series counts.
pub(crate) async fn until_metric(http: &HttpClient, name: &str, value: f64) {
    eventually(&format!("{name} is {value}"), async || {
        let text = scrape(http).await;
        let line = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find(|line| line.starts_with(name) && line[name.len()..].starts_with([' ', '{']));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()) == Some(value)
    })
    .await;
}

/// The same command, on a terminal of its own and into a pipe.
#[test]
fn the_log_is_text_on_a_terminal_and_json_elsewhere() {
    let begins_to_serve = |settings: &str, on_a_terminal: bool| {
        let directory = tempfile::tempdir().unwrap();
        // Port 1 of an address that no machine has: it logs, and ends.
        let line = format!(
            "'{}' quickstart --data-dir data -E inputs.0.server.host=192.0.2.1 {settings}",
            env!("CARGO_BIN_EXE_fleet-server")
        );
        let mut command = match on_a_terminal {
            true => {
                let mut command = std::process::Command::new("script");
                command.args(["-qec", &line, "/dev/null"]);
                command
            }
            false => {
                let mut command = std::process::Command::new("sh");
                command.args(["-c", &format!("{line} 2>&1")]);
                command
            }
        };
        let output = command
            .current_dir(directory.path())
            .stdin(std::process::Stdio::null())
            .output();
        let said = output.expect("`script` of util-linux").stdout;
        let said = String::from_utf8(said).unwrap();
        let first = said.lines().next().unwrap_or_default().to_owned();
        assert!(first.contains("Boot fleet-server"), "{said}");
        first.starts_with("{\"@timestamp\":")
    };
    assert!(!begins_to_serve("", true), "a person gets text");
    assert!(begins_to_serve("", false), "a program gets JSON");
    assert!(begins_to_serve("-E logging.format=json", true));
    assert!(begins_to_serve("-E logging.pretty=false", true));
    assert!(!begins_to_serve("-E logging.format=text", false));
    assert!(!begins_to_serve("-E logging.pretty=true", false));
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
        // The others are the original's, under the names of `/stats`.
        .filter(|name| !name.starts_with("http_server_") && *name != "service_info")
        .collect();
    let operations = include_str!("../../../../docs/OPERATIONS.md");
    let rows = || {
        operations
            .lines()
            .filter(|line| line.starts_with("| `fleet_server_"))
    };
    let names = |row: &'static str| {
        let cell = row.split(" | ").next().unwrap_or_default();
        let names = cell.split('`').skip(1).step_by(2);
        names.filter_map(|name| name.split('{').next())
    };
    let documented: BTreeSet<&str> = rows().flat_map(names).collect();
    let later: BTreeSet<&str> = rows()
        .filter(|row| row.contains("from the first one on"))
        .flat_map(names)
        .collect();
    let undocumented: Vec<_> = described.difference(&documented).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    let absent: Vec<_> = documented
        .difference(&described)
        .filter(|name| !later.contains(**name))
        .collect();
    assert!(absent.is_empty(), "{absent:?} is not in\n{text}");
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

/// A request whose body does not come: it holds a drain.
async fn begin_a_request_without_end(scene: &Scene) -> test_support::Connection {
    let mut connection = scene.facts.client("url").connect().await.unwrap();
    let head = format!(
        "POST /api/fleet/agents/enroll HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Elastic Agent v9.6.0\r\n\
         Content-Length: 1000\r\nAuthorization: ApiKey {}\r\n\r\n{{",
        scene.facts.enrollment_token()
    );
    connection.send_raw(head.as_bytes()).await.unwrap();
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    until_metric(&http, r#"fleet_server_requests_active{listener="agents"}"#, 1.0).await;
    connection
}

#[actix_rt::test]
async fn a_drain_is_seen_in_the_probes_and_a_second_signal_cuts_it() {
    let scene = Scene::of(
        test_support::server_command!()
            .quickstart()
            .set("inputs.0.server.timeouts.drain", "1m")
            .start(),
    );
    let _held = begin_a_request_without_end(&scene).await;
    scene.server.signal(test_support::Signal::TERM);
    scene.server.wait_for_log("SIGTERM: stopping");
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    let ready = http.request(&Request::get("/readyz")).await.unwrap();
    assert_eq!(
        (ready.status, ready.text().as_str()),
        (503, "[-] not draining: no\nnot ready\n")
    );
    assert_eq!(http.request(&Request::get("/livez")).await.unwrap().status, 200);
    assert!(scrape(&http).await.contains("fleet_server_requests_active"));
    // Agents are no longer taken in, once what had been accepted is in good hands.
    let since = std::time::Instant::now();
    while scene.facts.client("url").connect_tcp().await.is_ok() {
        assert!(since.elapsed() < test_support::LIMIT, "agents are still taken in");
    }
    let asked = Instant::now();
    scene.server.signal(test_support::Signal::INT);
    scene.server.expect_exit(0);
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
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
    scene.server.wait_for_log("policy revision created");
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

#[actix_rt::test]
async fn what_operators_change_is_in_the_log() {
    let scene = Scene::start();
    let key = scene.facts.admin_api_key().to_owned();
    let policy = scene.facts.policy_id();
    scene.admin.policy(policy).await;
    scene.admin.touch_policy(policy).await;
    let changed = scene.server.wait_for_log("an operator's request");
    assert!(changed.text.contains("\"fleet_audit\""), "{}", changed.text);
    assert!(
        changed
            .text
            .contains(&format!("/api/fleet/agent_policies/{policy}"))
            && changed.text.contains("PUT"),
        "{}",
        changed.text
    );
    assert!(!changed.text.contains(&key) && changed.text.contains("fleet.apikey.id"));
    let audited = scene.server.log();
    let audited = audited.iter().filter(|line| line.text.contains("fleet_audit"));
    assert_eq!(audited.count(), 1, "reading is not noted");
}
