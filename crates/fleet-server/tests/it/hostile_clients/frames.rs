//! Attacks that only HTTP/2 has.

use serde_json::json;
use test_support::{
    Connection, SimulatedAgent,
    http2_frames::{END_HEADERS, END_STREAM, frame, head, kind, opening},
};
use tokio::task::JoinSet;

use super::siege::{Ground, Told};

/// DATA without data, in requests of a stranger and of an agent.
pub(crate) async fn empty_data(ground: Ground) -> Told {
    let agent = ground.agents(1, ground.facts.enrollment_token()).await.remove(0);
    let with_key = checkin_head(&agent);
    let without_key = head("POST", "/api/fleet/agents/enroll", &[]);
    let flood = frame(kind::DATA, 0, 1, b"").repeat(1000);
    let mut attackers = JoinSet::new();
    for number in 0..8 {
        let block = if number % 2 == 0 { &with_key } else { &without_key };
        let first = frame(kind::HEADERS, END_HEADERS, 1, block);
        attackers.spawn(flood_frames(ground.clone(), number, first, flood.clone()));
    }
    sum(attackers).await
}

/// PING, SETTINGS, CONTINUATION, PRIORITY, and requests that are withdrawn at once.
pub(crate) async fn control(ground: Ground) -> Told {
    let head = head("GET", "/api/status", &[]);
    let withdrawn = |stream: u32| {
        let reset = frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        [frame(kind::HEADERS, END_HEADERS, stream, &head), reset].concat()
    };
    let floods = [
        (Vec::new(), frame(kind::PING, 0, 0, &[0; 8]).repeat(1000)),
        (Vec::new(), frame(kind::SETTINGS, 0, 0, b"").repeat(1000)),
        (
            frame(kind::HEADERS, 0, 1, &head),
            frame(kind::CONTINUATION, 0, 1, b"").repeat(1000),
        ),
        (
            frame(kind::HEADERS, END_HEADERS, 1, &head),
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).repeat(1000),
        ),
        (
            Vec::new(),
            (0..1000).flat_map(|at| withdrawn(at * 2 + 1)).collect(),
        ),
    ];
    let mut attackers = JoinSet::new();
    for (number, (first, flood)) in floods.iter().cycle().take(10).enumerate() {
        attackers.spawn(flood_frames(ground.clone(), number, first.clone(), flood.clone()));
    }
    sum(attackers).await
}

/// Sends the flood again and again, on a new connection whenever the server has had enough. Gives (frames, connections).
async fn flood_frames(ground: Ground, number: usize, first: Vec<u8>, flood: Vec<u8>) -> (usize, usize) {
    let client = ground.client(number).with_alpn(&["h2"]);
    let (mut blocks, mut connections) = (0, 0);
    while !ground.is_over() {
        let Ok(mut connection) = client.connect().await else {
            continue;
        };
        connections += 1;
        let begun = [opening(&[]), first.clone()].concat();
        let mut is_open = connection.send_raw(&begun).await.is_ok();
        while is_open && !ground.is_over() {
            is_open = connection.send_raw(&flood).await.is_ok();
            blocks += usize::from(is_open);
            tokio::task::yield_now().await;
        }
    }
    (blocks * 1000, connections)
}

async fn sum(attackers: JoinSet<(usize, usize)>) -> Told {
    let each = attackers.join_all().await;
    let frames: usize = each.iter().map(|(frames, _)| frames).sum();
    let connections: usize = each.iter().map(|(_, connections)| connections).sum();
    format!("{}k frames on {connections} connections", frames / 1000).into()
}

/// Agents with a large policy whose answers have no window.
pub(crate) async fn unread_answers(ground: Ground) -> Told {
    const CLIENTS: usize = 100;
    let admin = ground.admin();
    let filler = "policy ".repeat(150_000);
    let overrides = json!({"inputs": [{"id": "large", "type": "filestream", "filler": filler}]});
    let policy = admin
        .create_policy(
            &json!({"id": "large", "name": "large", "namespace": "default", "overrides": overrides}),
        )
        .await;
    let token = admin.create_token(policy["id"].as_str().unwrap()).await;
    let agents = ground.agents(CLIENTS, token["api_key"].as_str().unwrap()).await;
    let mut held: Vec<Connection> = Vec::new();
    for (number, agent) in agents.iter().enumerate() {
        let mut connection = ground.client(number).with_alpn(&["h2"]).connect().await.unwrap();
        let block = checkin_head(agent);
        // SETTINGS_INITIAL_WINDOW_SIZE
        let bytes = [
            opening(&[(4, 0)]),
            frame(kind::HEADERS, END_HEADERS, 1, &block),
            frame(kind::DATA, END_STREAM, 1, br#"{"status":"online","message":"x"}"#),
        ];
        connection.send_raw(&bytes.concat()).await.unwrap();
        held.push(connection);
    }
    ground.until_over().await;
    drop(held);
    format!("{CLIENTS} answers of 1 MiB, none read").into()
}

fn checkin_head(agent: &SimulatedAgent) -> Vec<u8> {
    head(
        "POST",
        &format!("/api/fleet/agents/{}/checkin", agent.id),
        &[
            ("User-Agent", "Elastic Agent v9.6.0"),
            ("Authorization", &format!("ApiKey {}", agent.access_key)),
        ],
    )
}
