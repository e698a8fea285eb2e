//! A part of the fleet on one thread: its agents, what they share, and the conductor's orders.
//!
//! In: a [`Plan`] and orders. Out: news. Nothing in it is locked: all agents of a part run on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::ServerName};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::spawn_local,
};

use crate::{
    agent,
    connection::{CallError, Way},
    enrolments,
    figures::{Counts, Figures, Step},
    ledger::Finding,
    plan::{News, Order, Plan, Server, Work},
    wire::Gzip,
};

/// What the agents of a part share.
pub(crate) struct Shard {
    pub(crate) plan: Plan,
    pub(crate) way: Way,
    /// Places for agents that enrol.
    pub(crate) turns: Semaphore,
    pub(crate) gzip: RefCell<Gzip>,
    counts: Cell<Counts>,
    figures: RefCell<Figures>,
    /// Changes when all agents break their connections.
    breaks: watch::Sender<u64>,
    /// True from the moment when uploads begin.
    uploads: watch::Sender<bool>,
    outage_at: Cell<u64>,
    /// By agent: when it polled on a connection newer than the outage; 0: not yet.
    returns: RefCell<Vec<u64>>,
    /// Number and id of agents that are settled.
    names: RefCell<Vec<(usize, String)>>,
}

/// Runs a part until it is told to stop, or the conductor is gone.
pub(crate) async fn run(plan: Plan, mut orders: mpsc::Receiver<Order>, news: mpsc::Sender<News>) {
    let shard = match Shard::new(plan) {
        Ok(shard) => Rc::new(shard),
        Err(reason) => {
            // Without a conductor nobody is left to tell.
            let _ = news.send(News::Failed(reason)).await;
            return;
        }
    };
    match shard.plan.work {
        Work::Enroll { connections } => enrolments::start(&shard, connections),
        _ => (0..shard.plan.agents).for_each(|index| {
            spawn_local(agent::live(Rc::clone(&shard), index));
        }),
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut told = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None | Some(Order::Stop) => return,
                Some(order) => if !shard.obey(order, &news).await { return },
            },
            _ = ticks.tick() => {
                let counts = shard.counts.get();
                if told != Some(counts) {
                    told = Some(counts);
                    if news.send(News::Counts(counts)).await.is_err() { return }
                }
            }
        }
    }
}

impl Shard {
    fn new(plan: Plan) -> Result<Self, String> {
        Ok(Self {
            way: plan.server.way()?,
            turns: Semaphore::new(plan.concurrency.max(1)),
            gzip: RefCell::new(Gzip::new()),
            counts: Cell::default(),
            figures: RefCell::default(),
            breaks: watch::channel(0).0,
            uploads: watch::channel(false).0,
            outage_at: Cell::new(0),
            returns: RefCell::new(vec![0; plan.agents]),
            names: RefCell::default(),
            plan,
        })
    }

    async fn obey(&self, order: Order, news: &mpsc::Sender<News>) -> bool {
        match order {
            Order::Report => {
                let mut figures = self.figures.take();
                figures.returns.clone_from(&self.returns.borrow());
                // Counts first: a report is never older than they are.
                news.send(News::Counts(self.counts.get())).await.is_ok()
                    && news.send(News::Figures(Box::new(figures))).await.is_ok()
            }
            Order::Names => {
                let names = self.names.borrow().clone();
                news.send(News::Names(names)).await.is_ok()
            }
            Order::Outage { at, breaks } => {
                self.outage_at.set(at);
                self.returns.borrow_mut().fill(0);
                self.count(|counts| counts.returned = 0);
                if breaks {
                    self.breaks.send_replace(at);
                }
                true
            }
            Order::Upload => {
                self.uploads.send_replace(true);
                true
            }
            Order::Stop => false,
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Notes an agent's id.
    pub(crate) fn name(&self, number: usize, id: &str) {
        self.names.borrow_mut().push((number, id.to_owned()));
    }

    pub(crate) fn time(&self, step: Step, took: Duration) {
        self.figures.borrow_mut().time(step, took);
    }

    pub(crate) fn figures(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.borrow_mut());
    }

    /// Counts a failed call of an agent.
    pub(crate) fn failed(&self, number: usize, doing: &str, error: &CallError) {
        self.count(|counts| counts.failed += 1);
        self.figures
            .borrow_mut()
            .failure(error.kind(), || format!("agent {number}, {doing}: {error}"));
    }

    pub(crate) fn found(&self, finding: Finding, words: impl FnOnce() -> String) {
        self.figures.borrow_mut().finding(finding, words);
    }

    /// Changes when every agent is to break its connection.
    pub(crate) fn breaks(&self) -> watch::Receiver<u64> {
        self.breaks.subscribe()
    }

    /// Comes back when uploads may begin.
    pub(crate) async fn may_upload(&self) {
        // The sender lives as long as the part.
        let _ = self.uploads.subscribe().wait_for(|may| *may).await;
    }

    /// Notes whether an agent polls on a connection that is newer than the last outage.
    pub(crate) fn returned(&self, index: usize, connected_at: u64, is_waiting: bool, now: u64) {
        let Some(was) = self.returns.borrow().get(index).copied() else {
            return;
        };
        let is = if is_waiting && connected_at > self.outage_at.get() {
            if was > 0 { was } else { now }
        } else {
            0
        };
        if is != was {
            self.returns.borrow_mut()[index] = is;
            self.count(|counts| {
                if is > 0 {
                    counts.returned += 1;
                } else {
                    counts.returned = counts.returned.saturating_sub(1);
                }
            });
        }
    }
}

impl Server {
    /// Trust and addresses, ready to connect. `Err`: why not.
    pub(crate) fn way(&self) -> Result<Way, String> {
        let tls = match &self.ca {
            None => None,
            Some(certificates) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
                Some((Arc::new(config(certificates)?), name))
            }
        };
        Ok(Way {
            address: self.address,
            authority: self.authority.clone(),
            tls,
            sources: self.sources.clone(),
        })
    }
}

/// TLS as agents do it: 1.2 and 1.3, no ALPN, no tickets.
fn config(certificates: &[Vec<u8>]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.clone().into())
            .map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}
