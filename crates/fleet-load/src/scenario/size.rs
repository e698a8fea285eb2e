//! What machine a fleet needs, from a short run with fewer agents on this one.
//!
//! In: agents and the size of their policy. Out: memory, processor time, network, files and disk, with what was
//! assumed. It starts a server of its own; nothing else is touched.

use std::{path::Path, time::Duration};

use clap::Parser as _;
use serde_json::Value;

use crate::{
    command_line::CommandLine,
    fault::Fault,
    own_server::{self, OwnServer},
    report::Report,
    scenario::{self, ratio},
};

/// The fleet that a machine is wanted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) agents: u64,
    pub(crate) policy: u64,
    /// Agents of the short run.
    pub(crate) sample: u64,
}

/// What the short run showed for one agent.
#[derive(Clone, Copy, Debug)]
struct Price {
    base_kib: f64,
    idle_kib: f64,
    /// Memory at the worst moment of roll-out and storm.
    peak_kib: f64,
    /// Processor seconds: a delivery with its acknowledgement and the next poll; a return with its handshake.
    delivery_s: f64,
    return_s: f64,
    /// Bytes of a delivery on the wire, headers and TLS left out.
    delivery_bytes: f64,
    store_bytes: f64,
}

pub(super) async fn run(program: Option<&Path>, wanted: Wanted, is_quiet: bool) -> Result<Report, Fault> {
    let program = own_server::program(program)?;
    let price = measure(&program, wanted, is_quiet).await?;
    Ok(report(wanted, price))
}

async fn measure(program: &Path, wanted: Wanted, is_quiet: bool) -> Result<Price, Fault> {
    let server = OwnServer::start(program, &[]).await?;
    let empty = server.store_bytes();
    let sample = wanted.sample.min(wanted.agents).max(1);
    let policy = wanted.policy.to_string();
    let figures =
        |result: &Report, name: &str| result.to_json()["figures"][name].as_f64().unwrap_or_default();
    let idle = part(&server, is_quiet, &["idle", "--duration", "5s"], sample).await?;
    let store_bytes = ratio(server.store_bytes().saturating_sub(empty)) / ratio(sample);
    drop(server);

    let server = OwnServer::start(program, &[]).await?;
    let words = ["policy-rollout", "--rounds", "3", "--policy", &policy];
    let rollout = part(&server, is_quiet, &words, sample).await?;
    let storm = part(&server, is_quiet, &["storm", "--duration", "1s"], sample).await?;
    let delivered: Vec<f64> = match &rollout.to_json()["figures"]["server_cpu_ms_per_1000"] {
        Value::Array(rounds) => rounds.iter().filter_map(Value::as_f64).collect(),
        _ => Vec::new(),
    };
    let base_kib = figures(&idle, "kib_before");
    // Two fleets: the second run's agents came while the first's had gone.
    let peak = figures(&rollout, "kib_peak").max(figures(&storm, "kib_peak"));
    Ok(Price {
        base_kib,
        idle_kib: figures(&idle, "kib_per_agent"),
        peak_kib: (peak - base_kib).max(0.0) / ratio(sample),
        delivery_s: delivered.iter().sum::<f64>() / ratio(delivered.len().max(1) as u64) / 1e6,
        return_s: figures(&storm, "server_cpu_s") / ratio(sample),
        delivery_bytes: figures(&rollout, "delivery_bytes"),
        store_bytes,
    })
}

/// One scenario of the short run. A finding ends it: figures of a server that errs are none.
async fn part(server: &OwnServer, is_quiet: bool, words: &[&str], agents: u64) -> Result<Report, Fault> {
    let (quickstart, pid) = (
        server.quickstart().display().to_string(),
        server.pid().to_string(),
    );
    let agents = agents.to_string();
    let mut line = vec!["fleet-load"];
    line.extend(words);
    line.extend([
        "--quickstart",
        &quickstart,
        "--pid",
        &pid,
        "--agents",
        &agents,
        "--eager",
    ]);
    if is_quiet {
        line.push("--quiet");
    }
    let line = CommandLine::try_parse_from(line).map_err(|error| Fault::Part(error.to_string()))?;
    let report = Box::pin(scenario::run(&line.scenario)).await?;
    if report.is_right() {
        Ok(report)
    } else {
        Err(Fault::Part(format!(
            "the short run found what must not be: {}",
            report.to_json()["findings"]
        )))
    }
}

fn report(wanted: Wanted, price: Price) -> Report {
    let agents = ratio(wanted.agents);
    let mut report = Report::new("size", wanted.agents);
    let steady = agents.mul_add(price.idle_kib, price.base_kib) / 1024.0;
    let peak = agents.mul_add(price.peak_kib.max(price.idle_kib), price.base_kib) / 1024.0;
    report.number("memory_steady_mib", steady, "MiB");
    report.number(
        "memory_peak_mib",
        peak,
        "MiB, in a roll-out or when all come back",
    );
    report.number(
        "memory_limit_mib",
        (peak * HEADROOM / 64.0).ceil() * 64.0,
        "MiB to give it",
    );
    report.number(
        "cpu_idle_cores",
        agents * price.delivery_s / POLL.as_secs_f64(),
        "cores at most, polls of 5 min",
    );
    for (rollout, back, cores) in [
        ("rollout_1_core_s", "return_1_core_s", 1.0),
        ("rollout_2_cores_s", "return_2_cores_s", 2.0),
        ("rollout_4_cores_s", "return_4_cores_s", 4.0),
    ] {
        report.number(
            rollout,
            agents * price.delivery_s / cores,
            "s until the last has a policy",
        );
        report.number(
            back,
            agents * price.return_s / cores,
            "s until the last is back after an outage",
        );
    }
    report.number(
        "rollout_network_mb",
        agents * price.delivery_bytes / 1e6,
        "MB for one policy to all",
    );
    report.count(
        "open_files",
        wanted.agents + wanted.agents / 4 + 1024,
        "LimitNOFILE",
    );
    report.number(
        "store_mb",
        agents * price.store_bytes / 1e6,
        "MB on disk after enrolment",
    );
    for (name, value, unit) in [
        ("sample_kib_before", price.base_kib, "KiB without agents"),
        ("sample_kib_per_agent", price.idle_kib, "KiB"),
        ("sample_peak_kib_per_agent", price.peak_kib, "KiB"),
        (
            "sample_cpu_us_per_delivery",
            price.delivery_s * 1e6,
            "µs, acknowledgement and next poll included",
        ),
        (
            "sample_cpu_us_per_return",
            price.return_s * 1e6,
            "µs, TLS handshake included",
        ),
        ("sample_delivery_bytes", price.delivery_bytes, "bytes, compressed"),
    ] {
        report.number(name, value, unit);
    }
    report.note(format!(
        "assumed: a machine with this one's cores ({}), which share the work evenly; agents that poll for 5 minutes; \
         one policy of {} bytes for all, sent without a pace (limits.policy_limit); a disk that keeps up; no \
         resumed TLS sessions. Measured with {} agents beside the server on this machine.",
        std::thread::available_parallelism().map_or(1, usize::from),
        wanted.policy,
        wanted.sample.min(wanted.agents),
    ));
    report
}

/// What is given beyond what was seen.
const HEADROOM: f64 = 1.5;
const POLL: Duration = Duration::from_secs(300);
