//! Bad input: the answer of agents.md 1.12, nothing stored, the process alive.

use std::time::Duration;

use serde_json::json;
use test_support::{LIMIT, Request, server_command};

use crate::{agents::Scene, outside::until_metric};

#[actix_rt::test]
async fn bodies_that_are_not_what_they_should_be() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    let client = scene.facts.client("url");
    let path = format!("/api/fleet/agents/{}/checkin?", agent.id);
    let bomb = Request::new("POST", "/").body(vec![b' '; 30 << 20]).gzip();
    let deep = "[".repeat(100_000);
    for (what, request, status) in [
        ("no JSON", agent.request(&path).body("not a json"), 400),
        ("a wrong type", agent.request(&path).body(r#"{"status": 5}"#), 400),
        ("no status", agent.request(&path).body("{}"), 400),
        (
            "bad gzip",
            agent
                .request(&path)
                .header("Content-Encoding", "gzip")
                .body("plain"),
            400,
        ),
        ("deep nesting", agent.request(&path).body(deep), 400),
        (
            "a large body",
            agent.request(&path).body(vec![b' '; 2 << 20]),
            413,
        ),
        (
            "no poll time",
            agent
                .request(&path)
                .body(r#"{"status":"online","poll_timeout":"soon"}"#),
            400,
        ),
    ] {
        let answer = client
            .request(&request)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.json()["statusCode"], status, "{what}");
    }
    let mut inflated = agent.request(&path).body(vec![b' '; 30 << 20]).gzip();
    assert!(
        inflated.to_bytes().len() < 1 << 20 && bomb.to_bytes().len() < 1 << 20,
        "a bomb is small on the wire"
    );
    inflated = inflated.header("Accept", "application/json");
    let answer = client.request(&inflated).await.unwrap();
    assert!(matches!(answer.status, 400 | 413), "CHK-14: {}", answer.text());
    assert_eq!(
        client.request(&Request::get("/api/status")).await.unwrap().status,
        200
    );
}

/// Nobody has to act when a client sends nonsense, so the log has no error for it (the server's end asserts that).
#[actix_rt::test]
async fn what_is_no_http_is_counted_and_is_no_error_of_ours() {
    let scene = Scene::start();
    let client = scene.facts.client("url");
    let refused: [&[u8]; 3] = [
        b"\x00\xff garbage\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for bytes in refused {
        let mut connection = client.connect().await.unwrap();
        connection.send_raw(bytes).await.unwrap();
        assert_eq!(connection.receive().await.unwrap().status, 400);
    }
    let http = test_support::HttpClient::for_url(scene.facts.get("http_url"), "");
    until_metric(
        &http,
        r#"fleet_server_connections_broken_total{listener="agents"}"#,
        3.0,
    )
    .await;
}

#[actix_rt::test]
async fn who_is_not_let_in() {
    let scene = Scene::start();
    let agent = scene.enroll().await;
    let client = scene.facts.client("url");
    let checkin = |authorization: Option<String>| {
        let request = Request::post_json(
            &format!("/api/fleet/agents/{}/checkin", agent.id),
            &json!({"status": "online"}),
        )
        .header("User-Agent", "Elastic Agent v9.6.0");
        match authorization {
            Some(value) => request.header("Authorization", &value),
            None => request,
        }
    };
    for (authorization, status, name) in [
        (None, 401, "ErrNoAuthHeader"),
        (Some("Bearer x".to_owned()), 400, "ErrMalformedHeader"),
        (Some("ApiKey invalidbase64".to_owned()), 401, "ErrInvalidToken"),
        (Some("ApiKey dGVzdA==".to_owned()), 400, "ErrMalformedToken"),
        (Some("ApiKey YTpi".to_owned()), 401, "ErrUnauthorized"),
        (
            Some(format!("ApiKey {}", scene.facts.enrollment_token())),
            403,
            "ErrAgentIdentity",
        ),
    ] {
        let answer = client.request(&checkin(authorization.clone())).await.unwrap();
        assert_eq!(
            (answer.status, answer.error_name().as_str()),
            (status, name),
            "{authorization:?}"
        );
    }
    let admin = scene.facts.client("admin_url");
    let answer = admin
        .request(&Request::get("/api/fleet/agent_policies"))
        .await
        .unwrap();
    assert_eq!(answer.status, 401, "the admin API needs its key");
    let with_agent_key = Request::get("/api/fleet/agent_policies")
        .header("Authorization", &format!("ApiKey {}", agent.access_key));
    assert!(matches!(
        admin.request(&with_agent_key).await.unwrap().status,
        401 | 403
    ));
}

#[actix_rt::test]
async fn silent_and_slow_clients_are_let_go_and_hinder_nobody() {
    let scene = Scene::of(
        test_support::server_command!()
            .quickstart()
            .set("inputs.0.server.timeouts.read_header", "1s")
            .set("inputs.0.server.timeouts.read", "2s")
            .start(),
    );
    let client = scene.facts.client("url");
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(client.connect_tcp().await.unwrap());
    }
    let mut slow = client.connect().await.unwrap();
    slow.send_raw(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        .await
        .unwrap();
    let mut stalled = client.connect().await.unwrap();
    let head = "POST /api/fleet/agents/enroll HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Elastic Agent v9.6.0\r\n\
                Content-Length: 1000\r\nAuthorization: ApiKey ";
    let head = format!("{head}{}\r\n\r\n{{", scene.facts.enrollment_token());
    stalled.send_raw(head.as_bytes()).await.unwrap();
    assert_eq!(
        client.request(&Request::get("/api/status")).await.unwrap().status,
        200
    );

    let answer = slow.receive_within(LIMIT).await;
    assert!(
        answer.is_err() || answer.is_ok_and(|answer| answer.status == 408),
        "slow headers"
    );
    let answer = stalled.receive_within(LIMIT).await.unwrap();
    assert_eq!(
        (answer.status, answer.error_name().as_str()),
        (408, "RequestTimeout")
    );
    for mut socket in silent {
        let mut buffer = [0; 1];
        let closed = tokio::io::AsyncReadExt::read(&mut socket, &mut buffer);
        let closed = actix_rt::time::timeout(LIMIT, closed)
            .await
            .expect("a silent handshake is ended");
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
    actix_rt::time::timeout(Duration::from_secs(20), scene.enroll())
        .await
        .expect("and agents still get in");
}

/// Anybody can send them, before any authentication: the log hears of each kind once, the counter of each.
#[actix_rt::test]
async fn server_names_that_are_none_are_counted_and_told_once() {
    let scene = Scene::of(server_command!().quickstart().allow_log("Illegal SNI").start());
    let port = scene.facts.url().rsplit(':').next().unwrap().parse().unwrap();
    let times = 20;
    for round in 0..times {
        // What rustls as a client would not send, put in place of names of the same length.
        for (name, bad) in [
            ("x27.0.0.x", "127.0.0.1"),
            ("fleet-xx", &*format!("fle t {round:02}")),
        ] {
            send_hello(port, &client_hello(name, bad));
        }
    }
    let http = test_support::HttpClient::for_url(scene.facts.get("http_url"), "");
    let counter = |cause: &str| format!("fleet_server_tls_peer_warnings_total{{cause=\"{cause}\"}}");
    for cause in ["sni_address", "sni_name"] {
        until_metric(&http, &counter(cause), f64::from(times)).await;
    }
    let log = scene.server.log();
    let told: Vec<_> = log
        .iter()
        .filter(|line| line.message().contains("Illegal SNI"))
        .collect();
    assert_eq!(told.len(), 2, "{told:#?}");
}

fn client_hello(name: &str, put: &str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name: rustls::pki_types::ServerName<'static> = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name.clone()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let name = name.to_str();
    let at = hello
        .windows(name.len())
        .position(|bytes| bytes == name.as_bytes())
        .unwrap();
    hello[at..at + put.len()].copy_from_slice(put.as_bytes());
    hello
}

/// Sends it and waits for the first byte of an answer.
fn send_hello(port: u16, hello: &[u8]) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(hello).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[actix_rt::test]
async fn attack_18_a_listener_that_is_full_takes_no_descriptor_of_the_agents() {
    const DESCRIPTORS: u32 = 200;
    // The flood is accepted faster than its rest is closed.
    let server = server_command!()
        .descriptors(DESCRIPTORS)
        .allow_log("Too many open files");
    let scene = Scene::of(server.quickstart().start());
    let mut held = Vec::new();
    for url in ["http_url", "admin_url"] {
        let port = scene
            .facts
            .get(url)
            .rsplit(':')
            .next()
            .unwrap()
            .parse::<u16>()
            .unwrap();
        for _ in 0..DESCRIPTORS {
            // Those above the share are accepted and closed.
            held.push(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
        }
    }
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    drop(held);
    scene.server.stop();
}

/// The process runs out of descriptors for a while: the connection waits, the log has one line, a metric counts.
#[actix_rt::test]
async fn without_file_descriptors_the_log_has_one_line_and_a_metric_counts() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

    let scene = Scene::of(
        server_command!()
            .quickstart()
            .allow_log("Too many open files")
            .start(),
    );
    let http = test_support::HttpClient::for_url(scene.facts.get("http_url"), "");
    let scrape = test_support::Request::get("/metrics");
    // It is accepted before there are no descriptors.
    let mut probe = http.connect().await.unwrap();
    probe.request(&scrape).await.unwrap();
    let pid = Pid::from_raw(scene.server.pid());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let most = |current| prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let before = most(Some(4));
    let client = scene.facts.client("url");
    let waiting =
        actix_rt::spawn(async move { client.request(&test_support::Request::get("/api/status")).await });
    let metric = "fleet_server_connections_accept_errors_total{cause=\"descriptors\"}";
    // Some seconds of trying again.
    test_support::eventually("six attempts are counted", async || {
        let text = probe.request(&scrape).await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(metric));
        line.and_then(|count| count.trim().parse::<f64>().ok()) >= Some(6.0)
    })
    .await;
    let told = || {
        let log = scene.server.log();
        log.iter()
            .filter(|line| line.message().contains("Too many open files"))
            .count()
    };
    assert_eq!(told(), 1);
    most(before.current);
    assert_eq!(
        waiting.await.unwrap().unwrap().status,
        200,
        "who waited is served"
    );
    assert_eq!(told(), 1);
    scene.server.stop();
}
