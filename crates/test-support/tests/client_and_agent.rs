//! The client and the simulated agent against a server that is scripted line by line, so that what goes over the
//! wire is seen and not assumed.
#![expect(clippy::unwrap_used, reason = "a test fails where a step fails")]

use std::{
    io::Read as _,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use test_support::{
    CertificateAuthority, FleetOrder, HttpClient, IdleFleet, LIMIT, Leaf, Request, SimulatedAgent,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.unwrap() })
}

/// Answers each connection with `script`, whatever it sends; gives the port.
async fn scripted(script: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let mut part = [0; 1024];
            let _ = io.read(&mut part).await;
            io.write_all(script).await.unwrap();
        }
    });
    port
}

#[test]
fn requests_are_sent_as_they_were_built() {
    let request = Request::new("POST", "/a?")
        .header("X-One", "1")
        .header("X-One", "2")
        .body("abcde");
    assert_eq!(
        String::from_utf8(request.to_bytes()).unwrap(),
        "POST /a? HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 5\r\n\r\nabcde"
    );
    assert_eq!(
        String::from_utf8(request.clone().without_header("x-one").chunked(2).to_bytes()).unwrap(),
        "POST /a? HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"
    );
    let bytes = request.gzip().to_bytes();
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&bytes[body..])
        .read_to_string(&mut plain)
        .unwrap();
    assert_eq!(plain, "abcde");
}

#[test]
fn responses_of_every_framing_are_read() {
    let cases: [(&'static [u8], &str); 4] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
    ];
    run(async {
        for (script, body) in cases {
            let client = HttpClient::plain("127.0.0.1", scripted(script).await);
            let response = client.request(&Request::get("/")).await.unwrap();
            assert_eq!(response.text(), body);
        }
        let client = HttpClient::plain("127.0.0.1", scripted(b"").await);
        let error = client.request(&Request::get("/")).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

/// One request the server saw.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: Vec<u8>,
    from: IpAddr,
    connection: usize,
}

/// Serves TLS; each request is answered by `answer`.
async fn tls_server(
    leaf: &Leaf,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: impl Fn(&Seen, usize) -> Option<Value> + Send + Sync + 'static,
) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.certificate.clone()],
            PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        for connection in 0.. {
            let (tcp, from) = listener.accept().await.unwrap();
            let (acceptor, seen, answer) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&answer));
            tokio::spawn(async move {
                let Ok(mut io) = acceptor.accept(tcp).await else {
                    return;
                };
                for number in 0.. {
                    let Some((head, body)) = read_request(&mut io).await else {
                        return;
                    };
                    let request = Seen {
                        head,
                        body,
                        from: from.ip(),
                        connection,
                    };
                    seen.lock().unwrap().push(request.clone());
                    let Some(answer) = answer(&request, number) else {
                        // A long poll that nothing ends but the client.
                        let _ = io.read_u8().await;
                        return;
                    };
                    let body = answer.to_string();
                    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    io.write_all(text.as_bytes()).await.unwrap();
                    io.flush().await.unwrap();
                }
            });
        }
    });
    port
}

async fn read_request(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    io.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

#[test]
fn tls_facts_tell_certificate_resumption_and_alpn() {
    run(async {
        let authority = CertificateAuthority::new("ca");
        let leaf = authority.issue(&["localhost", "127.0.0.1"]);
        let port = tls_server(&leaf, Arc::default(), |_, _| Some(json!({"ok": true}))).await;
        let client = HttpClient::trusting("127.0.0.1", port, authority.roots());
        let request = Request::get("/");

        let mut connection = client.connect().await.unwrap();
        assert_eq!(connection.fingerprint(), leaf.fingerprint());
        assert_eq!(connection.tls().unwrap().alpn, None);
        assert_eq!(
            connection.request(&request).await.unwrap().json(),
            json!({"ok": true})
        );
        let connection = client.clone().with_alpn(&["http/1.1"]).connect().await.unwrap();
        assert_eq!(connection.tls().unwrap().alpn.as_deref(), Some(&b"http/1.1"[..]));

        let resuming = client.clone().with_resumption();
        for is_resumed in [false, true, true] {
            let mut connection = resuming.connect().await.unwrap();
            assert_eq!(connection.tls().unwrap().is_resumed, is_resumed);
            // Tickets arrive behind the handshake.
            connection.request(&request).await.unwrap();
        }
        let stranger = CertificateAuthority::new("ca");
        assert!(
            HttpClient::trusting("127.0.0.1", port, stranger.roots())
                .connect()
                .await
                .is_err()
        );
    });
}

fn fake_fleet(request: &Seen, number: usize) -> Option<Value> {
    let target = request.head.split(' ').nth(1).unwrap();
    match target {
        "/api/fleet/agents/enroll?" => {
            Some(json!({"action": "created", "item": {"id": "a1", "access_api_key": "key"}}))
        }
        "/api/fleet/agents/a1/checkin?" if request_body(request)["policy_revision_idx"].is_null() => {
            let policy = json!({"id": "p1", "revision": 3});
            let action = json!({"id": "policy:p1:3", "type": "POLICY_CHANGE", "data": {"policy": policy}});
            Some(json!({"action": "checkin", "ack_token": "", "actions": [action]}))
        }
        "/api/fleet/agents/a1/checkin?" if number < 4 => {
            let action = json!({"id": "x", "type": "SETTINGS", "data": {"log_level": "debug"}});
            Some(json!({"action": "checkin", "ack_token": "t1", "actions": [action]}))
        }
        "/api/fleet/agents/a1/checkin?" => None,
        "/api/fleet/agents/a1/acks?" => Some(json!({"action": "acks", "items": [{"status": 200}]})),
        other => panic!("{other}"),
    }
}

fn request_body(request: &Seen) -> Value {
    let mut text = String::new();
    if request.head.contains("Content-Encoding: gzip\r\n") {
        flate2::read::GzDecoder::new(&request.body[..])
            .read_to_string(&mut text)
            .unwrap();
    } else {
        text = String::from_utf8(request.body.clone()).unwrap();
    }
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_agent_says_what_a_real_one_says() {
    run(async {
        let authority = CertificateAuthority::new("ca");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let port = tls_server(&authority.issue(&["localhost"]), Arc::clone(&seen), fake_fleet).await;
        let client =
            HttpClient::trusting("localhost", port, authority.roots()).from_address([127, 0, 0, 7].into());
        let mut agent = SimulatedAgent::enroll(&client, "token").await.unwrap();
        assert_eq!((agent.id.as_str(), agent.access_key.as_str()), ("a1", "key"));
        let settings = agent
            .checkin_until(|checkin| !checkin.of_type("SETTINGS").is_empty())
            .await
            .unwrap();
        assert_eq!(agent.policy, Some(("p1".into(), 3)));
        assert_eq!(settings.ack_token, "t1");
        agent.checkin().await.unwrap();

        let seen = seen.lock().unwrap().clone();
        let heads: Vec<&str> = seen
            .iter()
            .map(|request| request.head.split(' ').nth(1).unwrap())
            .collect();
        let checkin = "/api/fleet/agents/a1/checkin?";
        assert_eq!(
            heads,
            [
                "/api/fleet/agents/enroll?",
                checkin,
                "/api/fleet/agents/a1/acks?",
                checkin,
                checkin
            ]
        );
        for request in &seen {
            for line in [
                "User-Agent: Elastic Agent v9.6.0\r\n",
                "kbn-xsrf: 1\r\n",
                "Elastic-Api-Version: 2023-06-01\r\n",
            ] {
                assert!(request.head.contains(line), "{}", request.head);
            }
            assert_eq!(request.from, IpAddr::from([127, 0, 0, 7]));
        }
        assert!(seen[0].head.contains("Authorization: ApiKey token\r\n"));
        assert!(seen[1].head.contains("Authorization: ApiKey key\r\n"));
        // Check-ins share a connection, other calls have their own.
        assert_eq!(seen[1].connection, seen[3].connection);
        assert_ne!(seen[1].connection, seen[2].connection);
        let first = request_body(&seen[1]);
        assert_eq!(first["upgrade"], json!({}));
        assert!(first.get("ack_token").is_none() && first.get("agent_policy_id").is_none());
        let third = request_body(&seen[4]);
        assert_eq!(
            (&third["ack_token"], &third["policy_revision_idx"]),
            (&json!("t1"), &json!(3))
        );
        assert_eq!(
            request_body(&seen[2])["events"][0]["action_id"],
            json!("policy:p1:3")
        );
    });
}

#[test]
fn an_idle_fleet_waits_in_later_polls_of_one_connection_each() {
    run(async {
        let authority = CertificateAuthority::new("ca");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answer =
            |request: &Seen, number| fake_fleet(request, if number > 2 { usize::MAX } else { number });
        let port = tls_server(&authority.issue(&["localhost"]), Arc::clone(&seen), answer).await;
        let fleet = IdleFleet::start(FleetOrder {
            client: HttpClient::trusting("localhost", port, authority.roots()),
            token: "token".into(),
            agents: 20,
            source_addresses: vec![[127, 0, 0, 8].into(), [127, 0, 0, 9].into()],
            concurrency: 4,
            poll_limit: LIMIT,
        });
        fleet.until_waiting(20, LIMIT).await.unwrap();
        let progress = fleet.progress();
        assert_eq!(
            (
                progress.enrolled,
                progress.waiting,
                progress.answered,
                progress.failed
            ),
            (20, 20, 20, 0)
        );
        let mut given: Vec<_> = fleet
            .deliveries()
            .iter()
            .map(|delivery| (delivery.agent, delivery.revision))
            .collect();
        given.sort_unstable();
        assert_eq!(given, (0..20).map(|agent| (agent, Some(3))).collect::<Vec<_>>());
        fleet.stop().await;
        let seen = seen.lock().unwrap().clone();
        let mut connections: Vec<usize> = seen.iter().map(|request| request.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        assert_eq!(connections.len(), 20);
        assert_eq!(
            seen.iter()
                .filter(|request| request.from == IpAddr::from([127, 0, 0, 9]))
                .count(),
            seen.len() / 2
        );
    });
}

#[test]
fn a_fleet_that_cannot_enrol_says_why() {
    run(async {
        let port = scripted(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}").await;
        let fleet = IdleFleet::start(FleetOrder {
            client: HttpClient::plain("127.0.0.1", port),
            token: "token".into(),
            agents: 1,
            source_addresses: Vec::new(),
            concurrency: 1,
            poll_limit: LIMIT,
        });
        let progress = fleet.until_waiting(1, LIMIT).await.unwrap_err();
        assert_eq!(progress.failed, 1);
        assert!(progress.last_failure.unwrap().starts_with("status 401"));
    });
}
