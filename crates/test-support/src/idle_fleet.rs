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
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    http_client::HttpClient,
    simulated_agent::{AgentError, Checkin, SimulatedAgent},
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
    /// How many enrol (and take their first policy), and later acknowledge, at a time.
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

/// A policy that an agent was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which agent of the fleet, from 0.
    pub agent: usize,
    /// Revision of the policy.
    pub revision: Option<i64>,
    /// When the agent had read the answer.
    pub at: Instant,
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
    deliveries: Mutex<Vec<Delivery>>,
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
            deliveries: Mutex::default(),
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
                if let Err(error) = live(number, &client, &token, limit, &turns, &counts).await {
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

    /// Every policy delivered so far, in the order in which they were read.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.counts.deliveries.lock().unwrap().clone()
    }

    /// Waits until `count` agents wait. `Err`: how far it was when an agent failed or `limit` was over.
    pub async fn until_waiting(&self, count: usize, limit: Duration) -> Result<(), FleetProgress> {
        self.until(|progress| progress.waiting >= count, limit).await
    }

    /// Waits until the fleet is as far as `reached` wants. `Err`: how far it was when an agent failed or `limit`
    /// was over.
    pub async fn until(
        &self,
        reached: impl Fn(&FleetProgress) -> bool,
        limit: Duration,
    ) -> Result<(), FleetProgress> {
        let mut changes = self.counts.changed.subscribe();
        let reaching = async {
            loop {
                changes.mark_unchanged();
                let progress = self.progress();
                if progress.failed > 0 {
                    return Err(progress);
                }
                if reached(&progress) {
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

    fn answer(&self, agent: usize, checkin: &Checkin) {
        let at = Instant::now();
        let policies = checkin.of_type("POLICY_CHANGE").into_iter();
        self.deliveries
            .lock()
            .unwrap()
            .extend(policies.map(|action| Delivery {
                agent,
                revision: action["data"]["policy"]["revision"].as_i64(),
                at,
            }));
        self.bump(&self.answered);
    }
}

async fn live(
    number: usize,
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
        counts.answer(number, &first);
        agent.apply_on_one_connection(&first).await?;
        agent
    };
    loop {
        agent.begin_checkin().await?;
        counts.bump(&counts.waiting);
        let answer = agent.end_checkin(limit).await;
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
        let answer = answer?;
        counts.answer(number, &answer);
        // Ten thousand acknowledgements at one moment are more than a store may take.
        let _turn = turns.acquire().await.expect("the semaphore is never closed");
        agent.apply_on_one_connection(&answer).await?;
    }
}
