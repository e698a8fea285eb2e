//! Three figures of one release binary, to be compared with those of another: what an idle agent costs in memory,
//! what a light check-in costs, and how long a policy update takes to the last waiting agent.
//!
//! ```sh
//! cargo run --release -p test-support --example fleet_figures -- --server bin/fleet-server --agents 10000
//! ```
//! Each run starts the server twice over, on empty stores in temporary directories, and prints words and one line
//! of JSON. Runs of two builds are made in turn: what else the machine does then falls on both.
//!
//! - *Idle*: resident memory that all agents together added, in the second poll of each, and once more after the
//!   updates. It is read for a while and the least counts, since batches of records come and go.
//! - *Light check-in*: the same bytes as the last one, and nothing is due. The server authenticates, reads, compares,
//!   records, subscribes, and its poll ends after one millisecond (`checkin_long_poll`), with an empty answer. The
//!   server is started anew before, so that everything the first check-ins said is stored. Server and agents share
//!   the machine: processor time for 1,000 is the steadier figure, their number in a second the more telling one.
//! - *Update*: from sending the PUT to the answers that agents have read. The pace of roll-outs is switched off: at
//!   its default of 5 ms an agent it alone takes 50 s for 10,000. Meanwhile those who were answered acknowledge, 64
//!   at a time, and poll again.
//!
//! Every agent must get every revision once, in order, and every light check-in an empty answer; else the run ends with an error.
#![expect(clippy::print_stdout, reason = "a program for people to read")]

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use test_support::{
    AdminClient, Connection, FleetOrder, HttpClient, IdleFleet, ProcessFigures, Request, ServerCommand,
    ServerProcess, SimulatedAgent,
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Measures one build of the server.
#[derive(Parser)]
struct Options {
    /// The server's release binary
    #[arg(long)]
    server: PathBuf,
    /// Agents that wait
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Updates of their policy that are measured
    #[arg(long, default_value_t = 5)]
    updates: usize,
    /// Agents that make light check-ins
    #[arg(long, default_value_t = 256)]
    light_agents: usize,
    /// Light check-ins of each of them
    #[arg(long, default_value_t = 200)]
    light_checkins: usize,
    /// Agents that enrol or acknowledge at a time
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Seconds during which the memory of waiting agents is read
    #[arg(long, default_value_t = 15)]
    settle: u32,
    /// Seconds any one step may take
    #[arg(long, default_value_t = 900)]
    limit: u64,
    /// Further settings of the server, as KEY=VALUE
    #[arg(long)]
    set: Vec<String>,
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let options = Options::parse();
    // The server inherits this.
    let files = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            ..files
        },
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let waiting = waiting(&options).await?;
        let light = light(&options).await?;
        println!(
            "{}",
            json!({"server": options.server, "waiting": waiting, "light": light})
        );
        Ok(())
    })
}

/// Memory, and the way of an update.
async fn waiting(options: &Options) -> Outcome<Value> {
    let directory = tempfile::tempdir()?;
    let server = start(options, directory.path(), "1h")?;
    let facts = server.quickstart_facts();
    let admin = AdminClient::new(facts.client("admin_url"), facts.admin_api_key());
    let item = admin.policy(facts.policy_id()).await;
    let mut revisions = vec![item["revision"].as_i64()];
    let before = ProcessFigures::of(server.pid());

    let begun = Instant::now();
    let fleet = IdleFleet::start(FleetOrder {
        client: facts.client("url"),
        token: facts.enrollment_token().to_owned(),
        agents: options.agents,
        source_addresses: source_addresses(),
        concurrency: options.concurrency,
        poll_limit: Duration::from_secs(3600),
    });
    until_waiting(&fleet, options, 1).await?;
    println!(
        "{} agents wait after {:.1} s",
        options.agents,
        begun.elapsed().as_secs_f64()
    );
    let each = |resident: u64| kib_each(resident, before.resident_kib, options.agents);
    let second_poll = each(resident(&server, options).await);
    println!(
        "idle: {second_poll:.2} KiB an agent ({} KiB before)",
        before.resident_kib
    );

    let (mut accepted, mut median, mut last, mut cpu) = (vec![], vec![], vec![], vec![]);
    // One more than is measured: a revision that came twice would show before it.
    for round in 1..=options.updates + 1 {
        let same = json!({"name": item["name"], "namespace": item["namespace"]});
        let (busy, sent) = (ProcessFigures::of(server.pid()).cpu, Instant::now());
        let revision = admin.update_policy(facts.policy_id(), &same).await["revision"].as_i64();
        accepted.push(millis(sent.elapsed()));
        until_waiting(&fleet, options, round + 1).await?;
        cpu.push(per_thousand(
            ProcessFigures::of(server.pid()).cpu - busy,
            options.agents,
        ));
        let times = delivery_times(&fleet, revision, sent);
        let (Some(middle), Some(end)) = (times.get(times.len() / 2), times.last()) else {
            return Err(format!("nobody got revision {revision:?}").into());
        };
        median.push(millis(*middle));
        last.push(millis(*end));
        revisions.push(revision);
    }
    check_deliveries(&fleet, options.agents, &revisions)?;
    for measured in [&mut accepted, &mut median, &mut last, &mut cpu] {
        measured.truncate(options.updates);
    }
    println!(
        "updates: the PUT was answered after {accepted:.0?} ms, the last agent had it after {last:.0?} ms,"
    );
    println!(
        "  half of them after {median:.0?} ms; processor time of the server {cpu:.3?} s for 1,000 agents"
    );
    println!("  (which answers, takes acknowledgements and begins the next polls)");

    let later_poll = each(resident(&server, options).await);
    println!("idle after the updates: {later_poll:.2} KiB an agent");
    fleet.stop().await;
    server.stop();
    Ok(json!({
        "agents": options.agents, "kib_before": before.resident_kib,
        "kib_per_agent": second_poll, "kib_per_agent_after_updates": later_poll,
        "put_ms": accepted, "median_ms": median, "last_ms": last, "cpu_s_per_1000_updated": cpu,
    }))
}

/// The cost of a check-in without news.
async fn light(options: &Options) -> Outcome<Value> {
    let directory = tempfile::tempdir()?;
    let server = start(options, directory.path(), "1ms")?;
    let facts = server.quickstart_facts();
    let (client, turns) = (facts.client("url"), Arc::new(Semaphore::new(options.concurrency)));
    let mut enrolling = JoinSet::new();
    for _ in 0..options.light_agents {
        let (client, turns) = (client.clone(), Arc::clone(&turns));
        let token = facts.enrollment_token().to_owned();
        enrolling.spawn(async move {
            let _turn = turns.acquire().await?;
            let mut agent = SimulatedAgent::enroll_on_one_connection(&client, &token).await?;
            let first = agent.checkin().await?;
            agent.apply_on_one_connection(&first).await?;
            // Says which revision it runs.
            agent.checkin().await?;
            agent.disconnect();
            Outcome::Ok(agent)
        });
    }
    let agents = join(enrolling).await?;
    // Its last batch of records is written.
    server.stop();

    let server = start(options, directory.path(), "1ms")?;
    let client = server.quickstart_facts().client("url");
    let mut arriving = JoinSet::new();
    for agent in agents {
        let client = client.clone();
        arriving.spawn(async move { arrive(&client, &agent).await });
    }
    let agents = join(arriving).await?;

    let own = i32::try_from(std::process::id())?;
    let (server_before, own_before) = (ProcessFigures::of(server.pid()).cpu, ProcessFigures::of(own).cpu);
    let started = Instant::now();
    let mut checking_in = JoinSet::new();
    for (mut connection, request) in agents {
        let count = options.light_checkins;
        checking_in.spawn(async move {
            for _ in 0..count {
                check_in(&mut connection, &request).await?;
            }
            Outcome::Ok(connection)
        });
    }
    // Kept open until the end: closing is not measured.
    let connections = join(checking_in).await?;
    let took = started.elapsed();
    let count = options.light_agents * options.light_checkins;
    let cpu = per_thousand(ProcessFigures::of(server.pid()).cpu - server_before, count);
    let own = per_thousand(ProcessFigures::of(own).cpu - own_before, count);
    let rate = ratio(count) / took.as_secs_f64();
    println!("light check-ins: {rate:.0} in a second, {cpu:.3} s of the server's processor time for 1,000");
    println!(
        "  ({count} of {} agents; the agents themselves took {own:.3} s for 1,000)",
        options.light_agents
    );
    drop(connections);
    server.stop();
    Ok(json!({
        "agents": options.light_agents, "checkins": count, "per_second": rate,
        "cpu_s_per_1000": cpu, "agents_cpu_s_per_1000": own,
    }))
}

/// A server whose limits are out of the way.
fn start(options: &Options, directory: &Path, long_poll: &str) -> Outcome<ServerProcess> {
    let mut command = ServerCommand::new(std::path::absolute(&options.server)?)
        .directory(directory)
        .quickstart()
        .set("inputs.0.server.timeouts.checkin_long_poll", long_poll)
        .set("inputs.0.server.timeouts.checkin_jitter", "0s")
        .set("inputs.0.server.timeouts.write", "2h")
        .set("inputs.0.server.limits.max_agents", "50000");
    for bucket in ["enroll", "checkin", "ack", "policy"] {
        command = command.set(&format!("inputs.0.server.limits.{bucket}_limit.interval"), "-1");
    }
    for setting in &options.set {
        command = command.arg("-E").arg(setting);
    }
    Ok(command.start())
}

/// Opens the connection of an agent that has its policy, and checks in twice.
async fn arrive(client: &HttpClient, agent: &SimulatedAgent) -> Outcome<(Connection, Request)> {
    let mut connection = client.connect().await?;
    let request = agent.checkin_request();
    for _ in 0..2 {
        check_in(&mut connection, &request).await?;
    }
    Ok((connection, request))
}

async fn check_in(connection: &mut Connection, request: &Request) -> Outcome<()> {
    let response = connection.request(request).await?;
    let is_empty = response.status == 200 && {
        let body = response.json();
        body["action"] == "checkin" && body["ack_token"] == "" && body.get("actions").is_none()
    };
    if is_empty {
        Ok(())
    } else {
        Err(format!(
            "a light check-in was answered {} {}",
            response.status,
            response.text()
        )
        .into())
    }
}

async fn join<T: 'static>(mut tasks: JoinSet<Outcome<T>>) -> Outcome<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    Ok(done)
}

/// Waits until every agent was answered so often, and waits.
async fn until_waiting(fleet: &IdleFleet, options: &Options, answered: usize) -> Outcome<()> {
    fleet
        .until(
            |progress| progress.answered >= options.agents * answered && progress.waiting >= options.agents,
            Duration::from_secs(options.limit),
        )
        .await
        .map_err(|progress| format!("gave up: {progress:?}").into())
}

/// The least resident memory of some seconds.
async fn resident(server: &ServerProcess, options: &Options) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    let mut least = u64::MAX;
    for _ in 0..options.settle.max(1) * 4 {
        ticks.tick().await;
        least = least.min(ProcessFigures::of(server.pid()).resident_kib);
    }
    least
}

/// When agents had read this revision, in order.
fn delivery_times(fleet: &IdleFleet, revision: Option<i64>, sent: Instant) -> Vec<Duration> {
    let deliveries = fleet.deliveries();
    let these = deliveries.iter().filter(|delivery| delivery.revision == revision);
    let mut times: Vec<Duration> = these.map(|delivery| delivery.at - sent).collect();
    times.sort_unstable();
    times
}

/// Every agent got these revisions, once each, in this order.
fn check_deliveries(fleet: &IdleFleet, agents: usize, revisions: &[Option<i64>]) -> Outcome<()> {
    let mut got = vec![Vec::with_capacity(revisions.len()); agents];
    for delivery in fleet.deliveries() {
        got[delivery.agent].push(delivery.revision);
    }
    match got.iter().position(|got| got != revisions) {
        None => Ok(()),
        Some(agent) => Err(format!(
            "agent {agent} got the revisions {:?} instead of {revisions:?}",
            got[agent]
        )
        .into()),
    }
}

/// Addresses of this run alone: ports of earlier runs are in TIME_WAIT.
fn source_addresses() -> Vec<IpAddr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    (2..10)
        .map(|last| IpAddr::V4(Ipv4Addr::new(127, high, low, last)))
        .collect()
}

fn kib_each(now: u64, before: u64, agents: usize) -> f64 {
    let more = usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX);
    ratio(more) / ratio(agents.max(1))
}

fn per_thousand(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1000.0 / ratio(count.max(1))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers far below the 53 bits of a float"
)]
const fn ratio(count: usize) -> f64 {
    count as f64
}
