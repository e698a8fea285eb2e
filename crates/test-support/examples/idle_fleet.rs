//! Holds thousands of waiting agents against a running server and says what each costs it in memory.
//!
//! ```sh
//! cargo run --release -p test-support --example idle_fleet -- --quickstart data/quickstart.json --agents 10000 --pid $(pidof fleet-server)
//! ```
//! A new run wants new `--sources`: ports of the last one are in TIME_WAIT.
#![expect(clippy::print_stdout, reason = "a program for people to read")]
#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot be made ends with its reason"
)]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use test_support::{FleetOrder, HttpClient, IdleFleet, ProcessFigures};

/// Simulates an idle fleet.
#[derive(Parser)]
struct Options {
    /// `quickstart.json` of the server: gives URL, CA and token unless they are given
    #[arg(long)]
    quickstart: Option<PathBuf>,
    /// URL of the agents' listener
    #[arg(long)]
    url: Option<String>,
    /// CA file (PEM)
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Enrollment token
    #[arg(long)]
    token: Option<String>,
    /// Number of agents
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Number of 127.0.0.x source addresses
    #[arg(long, default_value_t = 4)]
    sources: u8,
    /// Last byte of the first source address; take another for the next run
    #[arg(long, default_value_t = 2)]
    first_source: u8,
    /// Agents that enrol at a time
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Seconds the enrolment of all agents may take
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Seconds to hold the fleet once all agents wait
    #[arg(long, default_value_t = 15)]
    hold: u64,
    /// Process id of the server: its resident memory is read before and after
    #[arg(long)]
    pid: Option<i32>,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let facts: Option<serde_json::Value> = options.quickstart.as_ref().map(|file| {
        serde_json::from_str(&fs::read_to_string(file).expect("the quickstart file")).expect("JSON")
    });
    let fact = |name: &str| {
        facts
            .as_ref()
            .and_then(|facts| facts[name].as_str())
            .map(str::to_owned)
    };
    let url = options
        .url
        .clone()
        .or_else(|| fact("url"))
        .expect("--url or --quickstart");
    let ca = options
        .ca
        .clone()
        .or_else(|| fact("ca_file").map(PathBuf::from))
        .expect("--ca or --quickstart");
    let token = options
        .token
        .clone()
        .or_else(|| fact("enrollment_token"))
        .expect("--token or --quickstart");
    let client = HttpClient::for_url(&url, &fs::read_to_string(ca).expect("the CA file"));
    let source = |number| {
        IpAddr::V4(Ipv4Addr::new(
            127,
            0,
            0,
            options.first_source.saturating_add(number),
        ))
    };

    let before = options.pid.map(|pid| ProcessFigures::of(pid).resident_kib);
    let started = Instant::now();
    let fleet = IdleFleet::start(FleetOrder {
        client,
        token,
        agents: options.agents,
        source_addresses: (0..options.sources).map(source).collect(),
        concurrency: options.concurrency,
        poll_limit: Duration::from_secs(3600),
    });
    let mut ticks = tokio::time::interval(Duration::from_secs(2));
    let reached = {
        let reaching = fleet.until_waiting(options.agents, Duration::from_secs(options.limit));
        tokio::pin!(reaching);
        loop {
            tokio::select! {
                reached = &mut reaching => break reached,
                _ = ticks.tick() => say(&fleet, started, options, before),
            }
        }
    };
    if let Err(progress) = reached {
        println!("gave up: {progress:?}");
        std::process::exit(1);
    }
    let end = Instant::now() + Duration::from_secs(options.hold);
    say(&fleet, started, options, before);
    while Instant::now() < end {
        ticks.tick().await;
        say(&fleet, started, options, before);
    }
    fleet.stop().await;
}

fn say(fleet: &IdleFleet, started: Instant, options: &Options, before: Option<u64>) {
    let progress = fleet.progress();
    print!(
        "{:6.1} s  enrolled {}  waiting {}  answered {}  failed {}",
        started.elapsed().as_secs_f64(),
        progress.enrolled,
        progress.waiting,
        progress.answered,
        progress.failed,
    );
    if let (Some(pid), Some(before)) = (options.pid, before) {
        let now = ProcessFigures::of(pid).resident_kib;
        print!("  server RSS {now} KiB");
        if progress.waiting > 0 {
            let more = now.saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let each = more as f64 / progress.waiting as f64;
            print!("  ({each:.2} KiB for each waiting agent)");
        }
    }
    println!();
}
