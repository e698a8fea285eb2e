//! The whole fleet as the conductor sees it: parts in threads or processes, their counts, their figures.
//!
//! In: plans and orders. Out: counts while it runs, figures when they are asked for. Knows nothing of scenarios.

use std::time::{Duration, Instant};

use tokio::{
    sync::mpsc,
    task::LocalSet,
    time::{sleep_until, timeout},
};

use crate::{
    fault::Fault,
    figures::{Counts, Figures},
    part_process,
    plan::{News, Order, Plan},
    progress::Progress,
    shard,
};

/// A running fleet. When it is dropped its parts end.
pub(crate) struct Fleet {
    parts: Vec<Part>,
    news: mpsc::Receiver<(usize, News)>,
    progress: Progress,
    agents: u64,
}

struct Part {
    orders: mpsc::Sender<Order>,
    counts: Counts,
    report: Option<Figures>,
    names: Option<Vec<(usize, String)>>,
}

impl Fleet {
    /// Starts one part for each plan, in threads or in processes of their own.
    pub(crate) fn start(plans: Vec<Plan>, in_processes: bool, progress: Progress) -> Result<Self, Fault> {
        let (news_in, news) = mpsc::channel(256);
        let agents = plans.iter().map(|plan| plan.agents as u64).sum();
        let mut parts = Vec::new();
        for (index, plan) in plans.into_iter().enumerate() {
            let (orders, orders_out) = mpsc::channel(8);
            let (part_in, mut part_out) = mpsc::channel(16);
            let all = news_in.clone();
            tokio::spawn(async move {
                while let Some(news) = part_out.recv().await {
                    if all.send((index, news)).await.is_err() {
                        return;
                    }
                }
                // A fleet that was stopped does not listen any more.
                let _ = all.send((index, News::Failed("it ended by itself".into()))).await;
            });
            if in_processes {
                part_process::start(plan, orders_out, part_in)?;
            } else {
                std::thread::Builder::new()
                    .name(format!("agents-{index}"))
                    .spawn(move || run_here(plan, orders_out, part_in))?;
            }
            parts.push(Part {
                orders,
                counts: Counts::default(),
                report: None,
                names: None,
            });
        }
        Ok(Self {
            parts,
            news,
            progress,
            agents,
        })
    }

    /// How many agents it has.
    pub(crate) const fn agents(&self) -> u64 {
        self.agents
    }

    /// The sum over all parts.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for part in &self.parts {
            sum.add(&part.counts);
        }
        sum
    }

    /// Waits until every agent has its first policy and polls again.
    pub(crate) async fn settle(&mut self, limit: Duration) -> Result<(), Fault> {
        let agents = self.agents;
        self.until(
            "agents wait",
            agents,
            |counts| counts.waiting.min(counts.settled),
            limit,
        )
        .await
    }

    /// Waits until every agent has its first policy.
    pub(crate) async fn arrive(&mut self, limit: Duration) -> Result<(), Fault> {
        let agents = self.agents();
        self.until("agents arrived", agents, |counts| counts.settled, limit)
            .await
    }

    /// Waits until `done` reaches `wanted`. `Err`: it did not within `limit`, so there is no result.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: u64,
        done: impl Fn(&Counts) -> u64,
        limit: Duration,
    ) -> Result<(), Fault> {
        if self.reach(what, wanted, &done, limit).await? {
            return Ok(());
        }
        let reached = done(&self.counts());
        let figures = self.report().await?;
        Err(Fault::GaveUp {
            after: limit,
            what: format!("{reached} of {wanted} {what}"),
            last: figures.samples.into_iter().next_back(),
        })
    }

    /// Waits until `done` reaches `wanted`, or `limit` is over; tells which.
    pub(crate) async fn reach(
        &mut self,
        what: &str,
        wanted: u64,
        done: impl Fn(&Counts) -> u64,
        limit: Duration,
    ) -> Result<bool, Fault> {
        self.progress.begin(what, wanted);
        let end = tokio::time::Instant::now() + limit;
        let reached = loop {
            let counts = self.counts();
            self.progress.at(done(&counts), &counts);
            if done(&counts) >= wanted {
                break true;
            }
            tokio::select! {
                () = sleep_until(end) => break false,
                taken = self.take_news() => taken?,
            }
        };
        self.progress.end();
        Ok(reached)
    }

    /// Lets it run for so long, and calls `look` four times a second.
    pub(crate) async fn during(
        &mut self,
        what: &str,
        time: Duration,
        mut look: impl FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        let begun = Instant::now();
        let end = tokio::time::Instant::now() + time;
        self.progress.begin(what, time.as_secs().max(1));
        loop {
            self.progress.at(begun.elapsed().as_secs(), &self.counts());
            tokio::select! {
                () = sleep_until(end) => break,
                _ = ticks.tick() => look()?,
                taken = self.take_news() => taken?,
            }
        }
        self.progress.end();
        Ok(())
    }

    /// Takes what was counted and timed since the last time.
    pub(crate) async fn report(&mut self) -> Result<Figures, Fault> {
        self.order(&Order::Report).await?;
        let collecting = async {
            while self.parts.iter().any(|part| part.report.is_none()) {
                self.take_news().await?;
            }
            Ok::<(), Fault>(())
        };
        timeout(ANSWER, collecting)
            .await
            .map_err(|_| Fault::Part("it does not answer".into()))??;
        let mut sum = Figures::default();
        for part in &mut self.parts {
            sum.add(part.report.take().unwrap_or_default());
        }
        Ok(sum)
    }

    /// Numbers and ids of all agents that are settled.
    pub(crate) async fn names(&mut self) -> Result<Vec<(usize, String)>, Fault> {
        self.order(&Order::Names).await?;
        while self.parts.iter().any(|part| part.names.is_none()) {
            self.take_news().await?;
        }
        let parts = self.parts.iter_mut();
        Ok(parts
            .flat_map(|part| part.names.take().unwrap_or_default())
            .collect())
    }

    /// Lets it run while `doing` is done.
    pub(crate) async fn meanwhile<T>(
        &mut self,
        doing: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut doing = std::pin::pin!(doing);
        loop {
            tokio::select! {
                done = &mut doing => return done,
                taken = self.take_news() => taken?,
            }
        }
    }

    /// Gives an order to all parts.
    pub(crate) async fn order(&self, order: &Order) -> Result<(), Fault> {
        for part in &self.parts {
            part.orders
                .send(order.clone())
                .await
                .map_err(|_| Fault::Part("it takes no orders".into()))?;
        }
        Ok(())
    }

    async fn take_news(&mut self) -> Result<(), Fault> {
        match self.news.recv().await {
            Some((part, News::Counts(counts))) => self.parts[part].counts = counts,
            Some((part, News::Figures(figures))) => self.parts[part].report = Some(*figures),
            Some((part, News::Names(names))) => self.parts[part].names = Some(names),
            Some((_, News::Failed(reason))) => return Err(Fault::Part(reason)),
            None => return Err(Fault::Part("all of them are gone".into())),
        }
        Ok(())
    }
}

/// Runs a part on this thread.
fn run_here(plan: Plan, orders: mpsc::Receiver<Order>, news: mpsc::Sender<News>) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => LocalSet::new().block_on(&runtime, shard::run(plan, orders, news)),
        Err(error) => {
            // Without a conductor nobody is left to tell.
            let _ = news.blocking_send(News::Failed(error.to_string()));
        }
    }
}

/// How long a part may take to say what it has.
const ANSWER: Duration = Duration::from_secs(120);
