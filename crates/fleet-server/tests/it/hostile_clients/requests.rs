//! Attacks with requests of HTTP/1.1, and with handshakes that lead to none.

use std::time::{Duration, Instant};

use serde_json::json;
use test_support::{Connection, HttpClient, Request, Response, SimulatedAgent};
use tokio::{io::AsyncWriteExt as _, task::JoinSet};

use super::siege::{Ground, Told};

/// Requests one behind the other, behind nothing and behind a poll, whose answers stay in the socket.
pub(crate) async fn unread_answers(ground: Ground) -> Told {
    const CLIENTS: usize = 40;
    let agents = ground.agents(CLIENTS / 2, ground.facts.enrollment_token()).await;
    let requests = b"GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20_000);
    let mut attackers = JoinSet::new();
    for number in 0..CLIENTS {
        let (ground, requests) = (ground.clone(), requests.clone());
        let first = agents.get(number).map(|agent| poll(agent).to_bytes());
        attackers.spawn(async move {
            // A fair part of the route is each address's own.
            let client = ground.client(number % 2).with_limit(Duration::from_secs(3600));
            let Ok(mut connection) = client.connect().await else {
                return;
            };
            let sending = async {
                if let Some(first) = first {
                    connection.send_raw(&first).await?;
                }
                while !ground.is_over() {
                    connection.send_raw(&requests).await?;
                }
                std::io::Result::Ok(())
            };
            // Nobody takes them any more, or the server has ended it.
            tokio::select! {
                _ended = sending => {}
                () = ground.until_over() => {}
            }
            ground.until_over().await;
        });
    }
    attackers.join_all().await;
    format!("{CLIENTS} connections, half of them behind a poll").into()
}

/// Polls with early bytes behind them, whose clients go away.
pub(crate) async fn early_bytes(ground: Ground) -> Told {
    const CLIENTS: usize = 100;
    let agents = ground.agents(CLIENTS, ground.facts.enrollment_token()).await;
    let (mut rounds, mut worst) = (0, Duration::ZERO);
    let http = HttpClient::for_url(ground.facts.get("http_url"), "");
    let before = open(&http).await;
    while !ground.is_over() {
        let mut connections = Vec::new();
        for (number, agent) in agents.iter().enumerate() {
            let mut connection = ground.client(number).connect().await.unwrap();
            connection.send(&poll(agent)).await.unwrap();
            connection.send_raw(&[b'x'; 16 << 10]).await.unwrap();
            connections.push(connection);
        }
        let gone = Instant::now();
        drop(connections);
        // The honest clients come and go meanwhile.
        while open(&http).await > before + 5.0 && gone.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        worst = worst.max(gone.elapsed());
        rounds += 1;
    }
    let figures = format!("{rounds} times {CLIENTS} clients, their going noticed after {worst:.2?} at most");
    let faults = if worst > Duration::from_secs(2) {
        vec![format!("a client's end was noticed after {worst:?}")]
    } else {
        Vec::new()
    };
    Told { figures, faults }
}

/// Connections of the agents' listener that the server has open.
async fn open(http: &HttpClient) -> f64 {
    let metrics = http.request(&Request::get("/metrics")).await.unwrap().text();
    let name = "fleet_server_connections_open{listener=\"agents\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{metrics}"))
}

/// Long paths that nobody serves.
pub(crate) async fn unknown_paths(ground: Ground) -> Told {
    let path = format!("/{}", "unknown-path-".repeat(500));
    let sent = on_connections(&ground, 8, move |_| Request::get(&path)).await;
    format!("{} requests", sent.requests).into()
}

/// Requests that are refused, again and again, on a connection that could be kept.
pub(crate) async fn refused(ground: Ground) -> Told {
    let sent = on_connections(&ground, 2, |turn| match turn % 3 {
        0 => Request::get("/nowhere"),
        1 => Request::post_json(
            "/api/fleet/agents/x/checkin",
            &json!({"status": "x".repeat(1000)}),
        ),
        _ => Request::new("PUT", "/api/status").body("not read"),
    })
    .await;
    let figures = format!("{} refusals on {} connections", sent.requests, sent.connections);
    let faults = if sent.connections > 2 {
        vec![format!("{figures}: a refusal costs the connection")]
    } else {
        Vec::new()
    };
    Told { figures, faults }
}

/// Everything that needs no key, from one address: wrong keys, the status, handshakes.
pub(crate) async fn stranger(ground: Ground) -> Told {
    let wrong = Request::post_json("/api/fleet/agents/x/checkin", &json!({"status": "online"}))
        .header("User-Agent", "Elastic Agent v9.6.0")
        .header("Authorization", "ApiKey YTpi");
    let handshakes = async {
        let mut count = 0;
        while !ground.is_over() {
            count += usize::from(ground.client(0).connect().await.is_ok());
        }
        count
    };
    let (wrong, status, handshakes) = tokio::join!(
        from_one_address(&ground, 4, move |_| wrong.clone()),
        from_one_address(&ground, 4, |_| Request::get("/api/status")),
        handshakes
    );
    format!(
        "{} wrong keys, {} requests for the status, {handshakes} handshakes",
        wrong.requests, status.requests
    )
    .into()
}

/// One agent's polls on a hundred connections, and its bodies that come byte by byte.
pub(crate) async fn greedy_agent(ground: Ground) -> Told {
    let mut agent = ground.agents(1, ground.facts.enrollment_token()).await.remove(0);
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    let request = poll(&agent);
    let mut attackers = JoinSet::new();
    for number in 0..100 {
        let (ground, request) = (ground.clone(), request.clone());
        attackers.spawn(async move {
            let mut polls = 0;
            while !ground.is_over() {
                let Ok(mut connection) = ground.client(number).connect().await else {
                    continue;
                };
                let polling = async {
                    while connection.request(&request).await.is_ok() {
                        polls += 1;
                    }
                };
                tokio::select! {
                    () = polling => {}
                    () = ground.until_over() => {}
                }
            }
            polls
        });
    }
    let slow = agent
        .request(&format!("/api/fleet/agents/{}/checkin?", agent.id))
        .header("Content-Length", "1000000")
        .to_bytes();
    for number in 0..50 {
        let (ground, slow) = (ground.clone(), slow.clone());
        attackers.spawn(async move {
            while !ground.is_over() {
                let Ok(mut connection) = ground.client(number).connect().await else {
                    continue;
                };
                let mut is_open = connection.send_raw(&slow).await.is_ok();
                while is_open && !ground.is_over() {
                    is_open = connection.send_raw(b" ").await.is_ok();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            0
        });
    }
    let polls: usize = attackers.join_all().await.iter().sum();
    format!("{polls} polls answered on 100 connections, 50 slow bodies").into()
}

/// Not an attack: a client that asks every seven seconds, on each listener.
pub(crate) async fn kept_open(ground: Ground) -> Told {
    let mut clients = JoinSet::new();
    for (url, path) in [
        ("url", "/api/status"),
        ("internal_url", "/api/status"),
        ("admin_url", "/api/status"),
        ("http_url", "/metrics"),
    ] {
        let ground = ground.clone();
        clients.spawn(async move {
            let client = ground.facts.client(url);
            let (mut requests, mut faults) = (0, Vec::new());
            let mut connection = client.connect().await.unwrap();
            while !ground.is_over() {
                match connection.request(&Request::get(path)).await {
                    Ok(_) => requests += 1,
                    Err(error) => {
                        faults.push(format!("{url}: {error} after {requests} requests"));
                        connection = client.connect().await.unwrap();
                    }
                }
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
            (requests, faults)
        });
    }
    let each = clients.join_all().await;
    let requests: usize = each.iter().map(|(requests, _)| requests).sum();
    let faults: Vec<String> = each.into_iter().flat_map(|(_, faults)| faults).collect();
    let figures = format!(
        "{requests} requests 7 s apart on 4 listeners, {} cut",
        faults.len()
    );
    Told { figures, faults }
}

/// Five hundred connections a second that say hello and nothing else.
pub(crate) async fn stalled_handshakes(ground: Ground) -> Told {
    let hello = client_hello();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut stalled = std::collections::VecDeque::new();
    let mut count = 0;
    while !ground.is_over() {
        pace.tick().await;
        for _ in 0..10 {
            count += 1;
            if let Ok(mut io) = ground.client(count).connect_tcp().await
                && io.write_all(&hello).await.is_ok()
            {
                stalled.push_back(io);
            }
        }
        // The server lets go of them long before.
        while stalled.len() > MOST_STALLED {
            stalled.pop_front();
        }
    }
    format!("{count} connections that stall").into()
}

const MOST_STALLED: usize = 8000;

fn client_hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// A check-in that says what the last one said.
fn poll(agent: &SimulatedAgent) -> Request {
    agent.checkin_request()
}

#[derive(Default)]
struct Sent {
    requests: usize,
    connections: usize,
}

async fn from_one_address(
    ground: &Ground,
    count: usize,
    request: impl Fn(usize) -> Request + Clone + Send + 'static,
) -> Sent {
    send(ground, vec![ground.client(0); count], request).await
}

async fn on_connections(
    ground: &Ground,
    count: usize,
    request: impl Fn(usize) -> Request + Clone + Send + 'static,
) -> Sent {
    send(
        ground,
        (0..count).map(|number| ground.client(number)).collect(),
        request,
    )
    .await
}

/// One request after the other, as fast as they are answered.
async fn send(
    ground: &Ground,
    clients: Vec<HttpClient>,
    request: impl Fn(usize) -> Request + Clone + Send + 'static,
) -> Sent {
    let mut attackers = JoinSet::new();
    for client in clients {
        let (ground, request) = (ground.clone(), request.clone());
        attackers.spawn(async move {
            let mut sent = Sent::default();
            let mut kept: Option<Connection> = None;
            while !ground.is_over() {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => match client.connect().await {
                        Ok(connection) => {
                            sent.connections += 1;
                            connection
                        }
                        Err(_) => continue,
                    },
                };
                if let Ok(answer) = connection.request(&request(sent.requests)).await {
                    sent.requests += 1;
                    kept = Some(connection).filter(|_| !closes(&answer));
                }
            }
            sent
        });
    }
    let each = attackers.join_all().await;
    each.iter().fold(Sent::default(), |sum, sent| Sent {
        requests: sum.requests + sent.requests,
        connections: sum.connections + sent.connections,
    })
}

fn closes(answer: &Response) -> bool {
    answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
}
