//! The server under attack, those who must not notice, and what is measured.
//!
//! In: an attack, run on a thread of its own. Out: one printed line, and a failure if an honest client saw an error or
//! waited for more than [`PATIENCE`].
#![expect(
    clippy::print_stdout,
    reason = "what an attack cost is the output of the long run"
)]

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use test_support::{
    AdminClient, Connection, FleetOrder, HttpClient, IdleFleet, LIMIT, ProcessFigures, QuickstartFacts,
    Request, ServerCommand, ServerProcess, SimulatedAgent,
};
use tokio::{runtime::Runtime, task::JoinHandle, time::MissedTickBehavior};

/// What an attack knows.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) facts: QuickstartFacts,
    ends: Instant,
}

impl Ground {
    /// A client that comes from one of many addresses, none of them an honest client's.
    pub(crate) fn client(&self, number: usize) -> HttpClient {
        let [.., low] = u32::try_from(number % 200 + 1).unwrap().to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 9, 9, low));
        self.facts
            .client("url")
            .from_address(address)
            .with_limit(Duration::from_secs(5))
    }

    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::new(self.facts.client("admin_url"), self.facts.admin_api_key())
    }

    /// Agents that have enrolled and do nothing else.
    pub(crate) async fn agents(&self, count: usize, token: &str) -> Vec<SimulatedAgent> {
        let mut agents = Vec::new();
        for number in 0..count {
            agents.push(SimulatedAgent::enroll(&self.client(number), token).await.unwrap());
        }
        agents
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// The rest of the attack's time.
    pub(crate) async fn until_over(&self) {
        tokio::time::sleep_until(self.ends.into()).await;
    }
}

/// What an attack has to say.
pub(crate) struct Told {
    pub(crate) figures: String,
    /// What must not be, beside what the honest clients saw.
    pub(crate) faults: Vec<String>,
}

impl From<String> for Told {
    fn from(figures: String) -> Self {
        let faults = Vec::new();
        Self { figures, faults }
    }
}

/// Runs an attack and judges what the others saw.
pub(crate) fn besiege<Fut>(name: &str, attack: impl FnOnce(Ground) -> Fut + Send + 'static)
where
    Fut: Future<Output = Told>,
{
    let files = getrlimit(Resource::Nofile);
    let current = files.maximum;
    // The server inherits this.
    setrlimit(Resource::Nofile, Rlimit { current, ..files }).unwrap();
    runtime().block_on(async {
        let server = start();
        let facts = server.quickstart_facts();
        let fleet = IdleFleet::start(fleet(&facts));
        fleet.until_waiting(AGENTS, 5 * LIMIT).await.unwrap();

        let (before, log) = (ProcessFigures::of(server.pid()), log_bytes(&server));
        let began = Instant::now();
        let ground = Ground {
            facts: facts.clone(),
            ends: began + duration(),
        };
        let honest = Honest::start(&facts).await;
        let attacker = std::thread::spawn(move || runtime().block_on(attack(ground)));
        let (mut resident, mut threads) = (before.resident_kib, before.threads);
        let mut samples = tokio::time::interval(Duration::from_millis(100));
        while !attacker.is_finished() {
            samples.tick().await;
            let now = ProcessFigures::of(server.pid());
            resident = resident.max(now.resident_kib);
            threads = threads.max(now.threads);
        }
        let took = began.elapsed();
        let cpu = ProcessFigures::of(server.pid()).cpu - before.cpu;
        let mut told = attacker.join().expect("an attack that comes to its end");
        let seen = honest.stop().await;
        println!(
            "{name}: {} | server {} + {} MiB, {} threads, {:.0} % CPU, {} KiB of log | others {seen}",
            told.figures,
            before.resident_kib >> 10,
            (resident - before.resident_kib) >> 10,
            threads,
            cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
            (log_bytes(&server) - log) >> 10,
        );
        told.faults.extend(seen.faults());
        let progress = fleet.progress();
        if progress.failed > 0 {
            told.faults.push(format!("waiting agents: {progress:?}"));
        }
        assert!(told.faults.is_empty(), "{name}: {:#?}", told.faults);
        // And every one of the thousand is still there to be told something.
        let answered = progress.answered;
        AdminClient::new(facts.client("admin_url"), facts.admin_api_key())
            .touch_policy(facts.policy_id())
            .await;
        fleet
            .until(
                |progress| progress.answered >= answered + AGENTS && progress.waiting >= AGENTS,
                LIMIT,
            )
            .await
            .unwrap();
        fleet.stop().await;
        server.stop();
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A server with the default limits, but for those that a thousand agents of one moment meet.
fn start() -> ServerProcess {
    let binary =
        std::env::var("HOSTILE_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fleet-server").into());
    let mut command = ServerCommand::new(binary)
        .quickstart()
        .set("inputs.0.server.timeouts.checkin_long_poll", "1h")
        .set("inputs.0.server.timeouts.checkin_jitter", "0s")
        .set("inputs.0.server.timeouts.write", "2h");
    for bucket in ["enroll", "ack", "policy"] {
        command = command.set(&format!("inputs.0.server.limits.{bucket}_limit.interval"), "-1");
    }
    command.start()
}

fn fleet(facts: &QuickstartFacts) -> FleetOrder {
    FleetOrder {
        client: facts.client("url"),
        token: facts.enrollment_token().to_owned(),
        agents: AGENTS,
        source_addresses: Vec::new(),
        concurrency: 32,
        poll_limit: Duration::from_secs(3600),
    }
}

fn log_bytes(server: &ServerProcess) -> usize {
    server.log().iter().map(|line| line.text.len() + 1).sum()
}

fn duration() -> Duration {
    let seconds = std::env::var("HOSTILE_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(60))
}

/// Clients that do what they should, at a pace that is theirs.
struct Honest {
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

/// What they saw.
#[derive(Default)]
struct Seen {
    /// A handshake and `GET /api/status`.
    fresh: Watch,
    /// An acknowledgement on a connection that is kept.
    kept: Watch,
    /// From the operator's request to the answer of the poll that it is for.
    woken: Watch,
}

#[derive(Default)]
struct Watch(Mutex<(Vec<Duration>, Vec<String>)>);

impl Honest {
    async fn start(facts: &QuickstartFacts) -> Self {
        let seen: Arc<Seen> = Arc::default();
        let client = facts.client("url").with_limit(Duration::from_secs(20));
        let admin = AdminClient::new(facts.client("admin_url"), facts.admin_api_key());
        let mut agents = Vec::new();
        for _ in 0..2 {
            let mut agent = SimulatedAgent::enroll(&client, facts.enrollment_token())
                .await
                .unwrap();
            let first = agent.checkin().await.unwrap();
            agent.apply(&first).await.unwrap();
            agents.push(agent);
        }
        let (waiter, asker) = (agents.pop().unwrap(), agents.pop().unwrap());
        let tasks = vec![
            tokio::spawn(ask_anew(client.clone(), Arc::clone(&seen))),
            tokio::spawn(ask_again(client, asker, Arc::clone(&seen))),
            tokio::spawn(wait(waiter, admin, Arc::clone(&seen))),
        ];
        Self { seen, tasks }
    }

    async fn stop(self) -> Arc<Seen> {
        for task in self.tasks {
            task.abort();
            // Aborted, or over by a panic of its own, which is a fault.
            if let Err(error) = task.await
                && error.is_panic()
            {
                self.seen.woken.fail(&error);
            }
        }
        self.seen
    }
}

async fn ask_anew(client: HttpClient, seen: Arc<Seen>) {
    let mut pace = pace();
    loop {
        pace.tick().await;
        let since = Instant::now();
        seen.fresh
            .take(since, client.request(&Request::get("/api/status")).await);
    }
}

async fn ask_again(client: HttpClient, agent: SimulatedAgent, seen: Arc<Seen>) {
    let request = agent
        .request(&format!("/api/fleet/agents/{}/acks?", agent.id))
        .body(json!({"events": []}).to_string().into_bytes());
    let mut kept: Option<Connection> = None;
    let mut pace = pace();
    loop {
        pace.tick().await;
        let since = Instant::now();
        let answer = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => client.connect().await?,
            };
            let answer = connection.request(&request).await?;
            kept = Some(connection);
            Ok(answer)
        };
        let answer = answer.await;
        seen.kept.take(since, answer);
    }
}

async fn wait(mut agent: SimulatedAgent, admin: AdminClient, seen: Arc<Seen>) {
    let action = json!({"action": {"type": "SETTINGS", "data": {"log_level": "info"}}});
    let path = format!("/agents/{}/actions", agent.id);
    let mut pace = pace();
    loop {
        pace.tick().await;
        if let Err(error) = agent.begin_checkin().await {
            seen.woken.fail(&error);
            continue;
        }
        let since = Instant::now();
        let posted = admin.call("POST", &path, Some(&action)).await;
        if posted.status != 200 {
            seen.woken.fail(&format!("the operator: {}", posted.text()));
        }
        match agent.end_checkin(LIMIT).await {
            Ok(answer) => {
                seen.woken.note(since.elapsed());
                if let Err(error) = agent.ack(&answer.actions.iter().collect::<Vec<_>>()).await {
                    seen.woken.fail(&error);
                }
            }
            Err(error) => seen.woken.fail(&error),
        }
    }
}

/// Within a client's fair part of every limit.
fn pace() -> tokio::time::Interval {
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

impl Watch {
    fn take(&self, since: Instant, answer: io::Result<test_support::Response>) {
        match answer {
            Ok(answer) if answer.status == 200 => self.note(since.elapsed()),
            Ok(answer) => self.fail(&format!("status {}: {}", answer.status, answer.text())),
            Err(error) => self.fail(&error),
        }
    }

    fn note(&self, took: Duration) {
        self.0.lock().unwrap().0.push(took);
    }

    fn fail(&self, error: &dyn fmt::Display) {
        self.0.lock().unwrap().1.push(error.to_string());
    }

    /// Median, 99th part and worst, in milliseconds.
    fn times(&self) -> [u128; 3] {
        let mut times = self.0.lock().unwrap().0.clone();
        times.sort_unstable();
        let part = |of_hundred: usize| {
            let place = (times.len() * of_hundred / 100).min(times.len().saturating_sub(1));
            times.get(place).map_or(0, Duration::as_millis)
        };
        [part(50), part(99), part(100)]
    }
}

impl Seen {
    fn each(&self) -> [(&'static str, &Watch); 3] {
        [
            ("new connection", &self.fresh),
            ("kept connection", &self.kept),
            ("waiting agent", &self.woken),
        ]
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, watch) in self.each() {
            let (times, errors) = &*watch.0.lock().unwrap();
            if times.is_empty() {
                faults.push(format!("{name}: no answer at all"));
            }
            let slow = times.iter().filter(|time| **time > PATIENCE).count();
            if slow > 0 {
                faults.push(format!(
                    "{name}: {slow} of {} waited for more than {PATIENCE:?}",
                    times.len()
                ));
            }
            let few = errors.iter().take(5).map(|error| format!("{name}: {error}"));
            faults.extend(few);
        }
        faults
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, watch) in self.each() {
            let [median, most, worst] = watch.times();
            let errors = watch.0.lock().unwrap().1.len();
            write!(f, "{name} {median}/{most}/{worst} ms, {errors} errors; ")?;
        }
        Ok(())
    }
}

const AGENTS: usize = 1000;
/// No honest client waits for longer.
const PATIENCE: Duration = Duration::from_secs(1);
