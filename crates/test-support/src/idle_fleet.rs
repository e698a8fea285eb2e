//! Thousands of agents that wait in their long polls, for measurements of memory and of wake-ups.
//!
//! Each agent keeps one connection for everything: it enrols, takes its policy, acknowledges it and polls again.
//! So a waiting agent is always in (at least) the second check-in of its connection: the steady state.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    http_client::HttpClient,
    simulated_agent::{AgentError, SimulatedAgent},
};

/// Which fleet, and how fast it comes.
#[derive(Clone)]
pub struct FleetOrder {
    /// The way to the server.
    pub client: HttpClient,
    pub token: String,
    pub agents: usize,
    /// Local addresses the agents come from, in turn; empty: whatever the system takes. One address has some
    /// 28,000 ports, of which a run may leave many in TIME_WAIT.
    pub source_addresses: Vec<IpAddr>,
    /// How many enrol (and take their first policy) at a time.
    pub concurrency: usize,
    /// How long a poll may stay unanswered.
    pub poll_limit: Duration,
}

/// How far a fleet is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetProgress {
    /// Agents that got a key.
    pub enrolled: usize,
    /// Agents whose check-in is out and unanswered, after at least one was answered.
    pub waiting: usize,
    /// Check-ins answered.
    pub answered: usize,
    /// Agents that gave up.
    pub failed: usize,
    /// Why the last one did.
    pub last_failure: Option<String>,
}

/// A running fleet; it ends when it is dropped.
pub struct IdleFleet {
    counts: Arc<Counts>,
    agents: JoinSet<()>,
}

struct Counts {
    enrolled: AtomicUsize,
    waiting: AtomicUsize,
    answered: AtomicUsize,
    failed: AtomicUsize,
    last_failure: Mutex<Option<String>>,
    changed: watch::Sender<()>,
}

impl IdleFleet {
    /// Starts all agents on the current tokio runtime.
    pub fn start(order: FleetOrder) -> Self {
        let counts = Arc::new(Counts {
            enrolled: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            last_failure: Mutex::new(None),
            changed: watch::channel(()).0,
        });
        let turns = Arc::new(Semaphore::new(order.concurrency.max(1)));
        let mut agents = JoinSet::new();
        for number in 0..order.agents {
            let mut client = order.client.clone();
            if !order.source_addresses.is_empty() {
                client = client.from_address(order.source_addresses[number % order.source_addresses.len()]);
            }
            let (counts, turns) = (Arc::clone(&counts), Arc::clone(&turns));
            let (token, limit) = (order.token.clone(), order.poll_limit);
            agents.spawn(async move {
                if let Err(error) = live(&client, &token, limit, &turns, &counts).await {
                    *counts.last_failure.lock().unwrap() = Some(error.to_string());
                    counts.bump(&counts.failed);
                }
            });
        }
        Self { counts, agents }
    }

    /// How far it is now.
    pub fn progress(&self) -> FleetProgress {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        FleetProgress {
            enrolled: count(&self.counts.enrolled),
            waiting: count(&self.counts.waiting),
            answered: count(&self.counts.answered),
            failed: count(&self.counts.failed),
            last_failure: self.counts.last_failure.lock().unwrap().clone(),
        }
    }

    /// Waits until `count` agents wait. `Err`: how far it was when an agent failed or `limit` was over.
    pub async fn until_waiting(&self, count: usize, limit: Duration) -> Result<(), FleetProgress> {
        let mut changes = self.counts.changed.subscribe();
        let reaching = async {
            loop {
                changes.mark_unchanged();
                let progress = self.progress();
                if progress.failed > 0 {
                    return Err(progress);
                }
                if progress.waiting >= count {
                    return Ok(());
                }
                changes
                    .changed()
                    .await
                    .expect("the counts live as long as the fleet");
            }
        };
        timeout(limit, reaching)
            .await
            .unwrap_or_else(|_| Err(self.progress()))
    }

    /// Ends all agents; their connections close.
    pub async fn stop(mut self) {
        self.agents.shutdown().await;
    }
}

impl Counts {
    fn bump(&self, count: &AtomicUsize) {
        count.fetch_add(1, Ordering::Relaxed);
        self.changed.send_replace(());
    }
}

async fn live(
    client: &HttpClient,
    token: &str,
    limit: Duration,
    turns: &Semaphore,
    counts: &Counts,
) -> Result<(), AgentError> {
    let mut agent = {
        let _turn = turns.acquire().await.expect("the semaphore is never closed");
        let mut agent = SimulatedAgent::enroll_on_one_connection(client, token).await?;
        counts.bump(&counts.enrolled);
        let first = agent.checkin().await?;
        counts.bump(&counts.answered);
        agent.apply_on_one_connection(&first).await?;
        agent
    };
    loop {
        agent.begin_checkin().await?;
        counts.bump(&counts.waiting);
        let answer = agent.end_checkin(limit).await;
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
        counts.bump(&counts.answered);
        agent.apply_on_one_connection(&answer?).await?;
    }
}
