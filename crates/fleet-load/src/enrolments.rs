//! Agents that enrol: one by one as part of their life, or as a scenario of its own.

use std::{cell::Cell, rc::Rc};

use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::{
    answer::{self, Credentials},
    connection::{CallError, Connection},
    figures::{Step, now},
    shard::Shard,
    wire::{self, Request},
};

/// The name of an agent's machine.
pub(crate) fn host(number: usize) -> String {
    format!("load-{number:06}")
}

/// The request with which an agent enrols.
pub(crate) fn request(authority: &str, token: &str, number: usize) -> Request {
    let body = wire::enroll_body(&host(number));
    Request::new("POST", "/api/fleet/agents/enroll?", authority, token, &[], &body)
}

/// Enrols all agents of a part, and nothing else.
pub(crate) fn start(shard: &Rc<Shard>, connections: Option<usize>) {
    if shard.plan.enrolled.is_some() {
        shard.count(|counts| counts.enrolled += 1);
    }
    let next = Rc::new(Cell::new(usize::from(shard.plan.enrolled.is_some())));
    for _ in 0..connections.unwrap_or(shard.plan.concurrency).max(1) {
        let (shard, next) = (Rc::clone(shard), Rc::clone(&next));
        spawn_local(async move {
            let mut kept = None;
            while next.get() < shard.plan.agents {
                let number = shard.plan.first + next.replace(next.get() + 1);
                let (_, connection) = enroll_over(&shard, number, kept.take()).await;
                kept = connection.filter(|_| connections.is_some());
            }
        });
    }
}

/// Enrols until it succeeds; gives the connection too.
pub(crate) async fn enroll_for_ever(shard: &Shard, number: usize) -> (Credentials, Option<Connection>) {
    enroll_over(shard, number, None).await
}

async fn enroll_over(
    shard: &Shard,
    number: usize,
    mut connection: Option<Connection>,
) -> (Credentials, Option<Connection>) {
    let mut failures = 0;
    loop {
        match enroll(shard, number, connection.take()).await {
            Ok((credentials, connection)) => {
                shard.count(|counts| counts.enrolled += 1);
                shard.figures(|figures| figures.last_enrolled = now());
                return (credentials, Some(connection));
            }
            Err(error) => {
                failures += 1;
                shard.failed(number, "enrolment", &error);
                sleep(shard.plan.pauses.before_enrolment(failures, fastrand::f64())).await;
            }
        }
    }
}

async fn enroll(
    shard: &Shard,
    number: usize,
    kept: Option<Connection>,
) -> Result<(Credentials, Connection), CallError> {
    let mut connection = match kept.and_then(Connection::if_open) {
        Some(kept) => kept,
        None => {
            let begun = Instant::now();
            let connection = Box::pin(shard.way.connect(number)).await?;
            shard.time(Step::Connect, begun.elapsed());
            connection
        }
    };
    let request = request(&shard.way.authority, &shard.plan.token, number);
    let begun = Instant::now();
    let response = connection.call(request.bytes()).await?;
    let credentials = answer::enrolment(response)?;
    shard.time(Step::Enroll, begun.elapsed());
    Ok((credentials, connection))
}
