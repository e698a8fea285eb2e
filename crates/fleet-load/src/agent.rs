//! The life of one simulated agent: enrol, take the first policy, then poll, apply, acknowledge, poll (agents.md 8.3
//! to 8.7).
//!
//! Everything runs on one connection, as with a real agent, whose HTTP library finds the connection of the poll idle
//! when it acknowledges. A real agent enrols from another process, on a connection of its own; here that one is kept.

use std::{pin::pin, rc::Rc, time::Duration};

use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::{
    answer::{self, CheckinAnswer, Credentials},
    connection::{CallError, Connection},
    enrolments,
    figures::{Step, now},
    ledger::{Finding, Ledger},
    plan::Work,
    shard::Shard,
    uploads,
    wire::{self, Acknowledged, Known, Request},
};

/// An enrolled agent.
struct Agent {
    shard: Rc<Shard>,
    index: usize,
    credentials: Credentials,
    ledger: Ledger,
    ack_token: String,
    connection: Option<Connection>,
    connected_at: u64,
    /// The next check-in; empty when what it says has changed.
    request: Request,
}

/// Lives until the part ends.
pub(crate) async fn live(shard: Rc<Shard>, index: usize) {
    let mut agent = Agent::settle(Rc::clone(&shard), index).await;
    shard.count(|counts| counts.settled += 1);
    shard.name(agent.number(), &agent.credentials.id);
    if does_upload(&shard, index) {
        let credentials = agent.credentials.clone();
        spawn_local(uploads::upload_on_order(
            Rc::clone(&shard),
            agent.number(),
            credentials,
        ));
    }
    let stay = stay(&shard, index);
    let mut breaks = shard.breaks();
    loop {
        let polling = agent.poll_for_ever();
        let leaving = async {
            match stay {
                Some(stay) => sleep(stay.mul_f64(0.5 + fastrand::f64())).await,
                None => std::future::pending().await,
            }
        };
        let leaves = tokio::select! {
            () = polling => false,
            // The sender lives as long as the part.
            _ = breaks.changed() => false,
            () = leaving => true,
        };
        agent.disconnect();
        if leaves {
            shard.count(|counts| counts.left += 1);
            sleep(stay.unwrap_or_default().mul_f64(fastrand::f64() / 4.0)).await;
        }
    }
}

fn does_upload(shard: &Shard, index: usize) -> bool {
    match shard.plan.work {
        Work::Upload => true,
        Work::Mix { .. } => (shard.plan.first + index) % 10 == 4,
        _ => false,
    }
}

fn stay(shard: &Shard, index: usize) -> Option<Duration> {
    match shard.plan.work {
        Work::Churn { stay } => Some(stay),
        Work::Mix { stay } if (shard.plan.first + index) % 10 == 9 => Some(stay),
        _ => None,
    }
}

impl Agent {
    fn number(&self) -> usize {
        self.shard.plan.first + self.index
    }

    /// Enrols, and checks in until the first policy is there; tries for ever.
    async fn settle(shard: Rc<Shard>, index: usize) -> Self {
        // The semaphore is never closed.
        let turn = shard.turns.acquire().await;
        let enrolled = shard.plan.enrolled.clone().filter(|_| index == 0);
        let (credentials, connection) = match enrolled {
            Some(credentials) => {
                shard.count(|counts| counts.enrolled += 1);
                (credentials, None)
            }
            None => enrolments::enroll_for_ever(&shard, shard.plan.first + index).await,
        };
        let mut agent = Self {
            shard: Rc::clone(&shard),
            index,
            credentials,
            ledger: Ledger::default(),
            ack_token: String::new(),
            connected_at: now(),
            connection,
            request: Request::default(),
        };
        let mut failures = 0;
        while agent.ledger.policy().is_none() {
            match agent.poll().await {
                Ok(answer) => agent.take(&answer).await,
                Err(error) => {
                    failures += 1;
                    shard.failed(agent.number(), "first check-in", &error);
                    sleep(shard.plan.pauses.after_failures(failures, fastrand::f64())).await;
                }
            }
        }
        drop(turn);
        agent
    }

    async fn poll_for_ever(&mut self) {
        let pauses = self.shard.plan.pauses;
        let mut failures = 0;
        loop {
            match self.poll().await {
                Ok(answer) => {
                    failures = 0;
                    self.take(&answer).await;
                    if let Some(pause) = pauses.between_polls(fastrand::f64()) {
                        sleep(pause).await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.shard.failed(self.number(), "check-in", &error);
                    sleep(pauses.after_failures(failures, fastrand::f64())).await;
                }
            }
        }
    }

    /// One check-in and its answer.
    async fn poll(&mut self) -> Result<Rc<CheckinAnswer>, CallError> {
        let answered = self.poll_now().await;
        if !matches!(answered, Ok(_) | Err(CallError::Refused { .. })) {
            self.disconnect();
        }
        if answered.is_err() {
            self.shard.returned(self.index, self.connected_at, false, 0);
        }
        answered
    }

    async fn poll_now(&mut self) -> Result<Rc<CheckinAnswer>, CallError> {
        self.build_request();
        self.connect().await?;
        let shard = Rc::clone(&self.shard);
        let Some(connection) = self.connection.as_mut() else {
            return Err(CallError::Unreadable("no connection".into()));
        };
        let begun = Instant::now();
        connection.send(self.request.bytes()).await?;
        let waiting = Waiting::begin(&shard);
        shard.returned(self.index, self.connected_at, true, now());
        let response = connection.receive().await?;
        drop(waiting);
        let (read_at, bytes) = (now(), response.body.len() as u64);
        let answer = answer::checkin(response)?;
        shard.time(Step::Checkin, begun.elapsed());
        shard.count(|counts| counts.answered += 1);
        if let Some(token) = answer.ack_token.as_deref().filter(|token| !token.is_empty())
            && token != self.ack_token
        {
            token.clone_into(&mut self.ack_token);
            self.request = Request::default();
        }
        if answer.actions.as_ref().is_some_and(|actions| !actions.is_empty()) {
            self.shard.figures(|figures| figures.delivered_bytes += bytes);
        }
        self.note(&answer, read_at)?;
        Ok(answer)
    }

    /// Enters what came in the ledger.
    fn note(&mut self, answer: &CheckinAnswer, read_at: u64) -> Result<(), CallError> {
        let number = self.number();
        for action in answer.actions.iter().flatten() {
            let (finding, what) = match action.policy()? {
                Some((id, revision)) => {
                    self.request = Request::default();
                    self.shard.count(|counts| counts.policies += 1);
                    self.shard
                        .figures(|figures| figures.deliveries.push((revision, read_at)));
                    let finding = self.ledger.take_policy(&id, revision);
                    (finding, format!("revision {revision} of policy {id}"))
                }
                None => {
                    let digest = crate::ledger::digest(action.id());
                    self.shard.count(|counts| counts.actions += 1);
                    self.shard
                        .figures(|figures| figures.actions.push((number, digest, read_at)));
                    (
                        self.ledger.take_action(action.id()),
                        format!("action {}", action.id()),
                    )
                }
            };
            if let Some(finding) = finding {
                self.shard
                    .found(finding, || format!("agent {number}: {}: {what}", finding.name()));
            }
        }
        Ok(())
    }

    /// Does what came, which is to acknowledge it. An agent acknowledges neither CANCEL nor what it does not know.
    async fn take(&mut self, answer: &CheckinAnswer) {
        let actions = answer.actions.as_deref().unwrap_or_default();
        let acknowledged: Vec<_> = actions
            .iter()
            .filter(|action| ACKNOWLEDGED.contains(&action.kind()))
            .map(|action| Acknowledged {
                id: action.id(),
                kind: action.kind(),
                input: action
                    .input_type
                    .as_deref()
                    .map(|kind| (kind, action.data.as_deref())),
                upload: None,
            })
            .collect();
        if acknowledged.is_empty() {
            return;
        }
        let body = wire::acks_body(
            &self.credentials.id,
            &acknowledged,
            time::OffsetDateTime::now_utc(),
        );
        let mut request = self.acks_request(&body);
        if let Err(error) = self.acknowledge(request.bytes()).await {
            self.shard.failed(self.number(), "acknowledgement", &error);
            self.disconnect();
            request.renew();
            spawn_local(acknowledge_later(Rc::clone(&self.shard), self.number(), request));
        }
    }

    async fn acknowledge(&mut self, request: &[u8]) -> Result<(), CallError> {
        self.connect().await?;
        let Some(connection) = self.connection.as_mut() else {
            return Err(CallError::Unreadable("no connection".into()));
        };
        acknowledge(
            &self.shard,
            self.shard.plan.first + self.index,
            connection,
            request,
        )
        .await
    }

    async fn connect(&mut self) -> Result<(), CallError> {
        if self.connection.as_mut().is_some_and(Connection::is_open) {
            return Ok(());
        }
        self.connection = None;
        let begun = Instant::now();
        // Boxed: a future of this size is not carried through the years that an agent waits.
        let connection = Box::pin(self.shard.way.connect(self.number())).await?;
        self.shard.time(Step::Connect, begun.elapsed());
        self.connected_at = now();
        self.connection = Some(connection);
        Ok(())
    }

    fn disconnect(&mut self) {
        self.connection = None;
        self.shard.returned(self.index, self.connected_at, false, 0);
    }

    fn build_request(&mut self) {
        if !self.request.is_empty() {
            self.request.renew();
            return;
        }
        let Credentials { id, access_api_key } = &self.credentials;
        let known = Known {
            ack_token: &self.ack_token,
            policy: self.ledger.policy(),
        };
        let body = wire::checkin_body(id, &enrolments::host(self.number()), known);
        self.request = Request::new(
            "POST",
            &format!("/api/fleet/agents/{id}/checkin?"),
            &self.shard.way.authority,
            access_api_key,
            &[("Content-Encoding", "gzip")],
            &self.shard.gzip.borrow_mut().pack(&body),
        );
    }

    fn acks_request(&self, body: &[u8]) -> Request {
        let Credentials { id, access_api_key } = &self.credentials;
        let target = format!("/api/fleet/agents/{id}/acks?");
        Request::new(
            "POST",
            &target,
            &self.shard.way.authority,
            access_api_key,
            &[],
            body,
        )
    }
}

async fn acknowledge(
    shard: &Shard,
    number: usize,
    connection: &mut Connection,
    request: &[u8],
) -> Result<(), CallError> {
    let begun = Instant::now();
    let response = connection.call(request).await?;
    shard.time(Step::Ack, begun.elapsed());
    if answer::acks(&response)? {
        shard.count(|counts| counts.acked += 1);
    } else {
        let words = || format!("agent {number}: {}", String::from_utf8_lossy(&response.body));
        shard.found(Finding::NotAcknowledged, words);
    }
    Ok(())
}

/// The agents' retry loop: five times, on a connection of its own, while polls go on.
async fn acknowledge_later(shard: Rc<Shard>, number: usize, request: Request) {
    for failures in 1..=5 {
        sleep(shard.plan.pauses.after_failures(failures, fastrand::f64())).await;
        let sending = pin!(async {
            let mut connection = Box::pin(shard.way.connect(number)).await?;
            acknowledge(&shard, number, &mut connection, request.bytes()).await
        });
        match sending.await {
            Ok(()) => return,
            Err(error) => shard.failed(number, "acknowledgement again", &error),
        }
    }
    shard.found(Finding::NotAcknowledged, || {
        format!("agent {number}: gave up after 6 times")
    });
}

/// Counts an agent as waiting while it lives.
struct Waiting<'a>(&'a Shard);

impl<'a> Waiting<'a> {
    fn begin(shard: &'a Shard) -> Self {
        shard.count(|counts| counts.waiting += 1);
        Self(shard)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.count(|counts| counts.waiting -= 1);
    }
}

const ACKNOWLEDGED: [&str; 8] = [
    "POLICY_CHANGE",
    "POLICY_REASSIGN",
    "SETTINGS",
    "UNENROLL",
    "UPGRADE",
    "REQUEST_DIAGNOSTICS",
    "INPUT_ACTION",
    "PRIVILEGE_LEVEL_CHANGE",
];
