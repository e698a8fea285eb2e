//! Attacks with what stands in bodies: large fields, bodies that never end, enrolments that cost a derivation each.

use std::time::Duration;

use serde_json::json;
use test_support::{Connection, Request, SimulatedAgent};
use tokio::task::JoinSet;

use super::siege::{Ground, Told};

/// Check-ins of agents whose fields are as large as a body may be after inflation, one field after the other.
pub(crate) async fn large_fields(ground: Ground) -> Told {
    const CLIENTS: usize = 20;
    const FIELDS: [&str; 4] = ["message", "local_metadata", "components", "agent_policy_id"];
    let agents = ground.agents(CLIENTS, ground.facts.enrollment_token()).await;
    let large = "large ".repeat((19 << 20) / 6);
    let bodies = FIELDS.map(|field| {
        let value = match field {
            "local_metadata" => json!({"x": large}),
            "components" => json!([{"id": large}]),
            _ => json!(large),
        };
        let body = json!({"status": "online", field: value}).to_string();
        Request::new("POST", "")
            .header("User-Agent", "Elastic Agent v9.6.0")
            .body(body.into_bytes())
            .gzip()
    });
    let mut attackers = JoinSet::new();
    for (number, agent) in agents.into_iter().enumerate() {
        let ground = ground.clone();
        // Compressed once for all.
        let requests = bodies.clone().map(|request| {
            request
                .with_target(&format!("/api/fleet/agents/{}/checkin?", agent.id))
                .header("Authorization", &format!("ApiKey {}", agent.access_key))
        });
        attackers.spawn(async move {
            let (mut answered, mut statuses) = (0, [0_u16; FIELDS.len()]);
            while !ground.is_over() {
                let place = answered % FIELDS.len();
                if let Ok(answer) = ground.client(number).request(&requests[place]).await {
                    statuses[place] = answer.status;
                }
                answered += 1;
            }
            (answered, statuses)
        });
    }
    let each = attackers.join_all().await;
    let count: usize = each.iter().map(|(answered, _)| answered).sum();
    let statuses = each.first().map(|(_, statuses)| *statuses).unwrap_or_default();
    format!("{count} check-ins with 19 MiB in one of {FIELDS:?}, answered {statuses:?}").into()
}

/// Bodies of a megabyte whose last bytes do not come.
pub(crate) async fn stalled(ground: Ground) -> Told {
    const AGENTS: usize = 20;
    const EACH: usize = 20;
    let agents = ground.agents(AGENTS, ground.facts.enrollment_token()).await;
    let mut attackers = JoinSet::new();
    for (number, agent) in agents.iter().cycle().take(AGENTS * EACH).enumerate() {
        let head = agent
            .request(&format!("/api/fleet/agents/{}/checkin?", agent.id))
            .header("Content-Length", "1000000")
            .to_bytes();
        let ground = ground.clone();
        attackers.spawn(async move {
            let body = vec![b' '; 990_000];
            let mut refused = 0;
            while !ground.is_over() {
                let Ok(mut connection) = ground.client(number).connect().await else {
                    continue;
                };
                if connection.send_raw(&head).await.is_ok() && connection.send_raw(&body).await.is_ok() {
                    tokio::select! {
                        _answer = answered(&mut connection) => refused += 1,
                        () = ground.until_over() => {}
                    }
                } else {
                    refused += 1;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            refused
        });
    }
    let refused: usize = attackers.join_all().await.iter().sum();
    format!(
        "{} bodies of 0.99 of 1 MB at a time, {refused} refused",
        AGENTS * EACH
    )
    .into()
}

async fn answered(connection: &mut Connection) -> bool {
    connection.receive_within(Duration::from_secs(3600)).await.is_ok()
}

/// Enrolments of agents that name a replace token: each costs a derivation.
pub(crate) async fn replacements(ground: Ground) -> Told {
    let mut attackers = JoinSet::new();
    for number in 0..200 {
        let ground = ground.clone();
        attackers.spawn(async move {
            let client = ground.client(number).with_limit(Duration::from_secs(60));
            let (mut done, mut refused) = (0, 0);
            while !ground.is_over() {
                let id = format!("hostile-{number}-{}", done + refused);
                let token = ground.facts.enrollment_token();
                let enrolling = SimulatedAgent::enroll_with(
                    &client,
                    token,
                    json!({"id": id, "replace_token": "a-token-of-sixteen"}),
                );
                match enrolling.await {
                    Ok(_) => done += 1,
                    Err(_) => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (done, refused)
        });
    }
    let each = attackers.join_all().await;
    let done: usize = each.iter().map(|(done, _)| done).sum();
    let refused: usize = each.iter().map(|(_, refused)| refused).sum();
    format!("{done} enrolments with a replace token, {refused} refused").into()
}
