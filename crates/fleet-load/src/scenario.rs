//! The scenarios: each lets a fleet do one thing and reports what came of it.

mod action_rollout;
mod checkin;
mod churn;
mod enroll;
mod idle;
mod mix;
mod policy_rollout;
mod rotate;
mod size;
mod storm;
mod upload;

use std::time::Duration;

use crate::{
    command_line::Scenario,
    fault::Fault,
    report::Report,
    run::{Needs, Run},
    server_process::{ServerProcess, Taken},
};

/// Runs one.
pub(crate) async fn run(scenario: &Scenario) -> Result<Report, Fault> {
    match scenario {
        Scenario::Enroll {
            options,
            shared_connections,
        } => {
            let connections = Some(shared_connections.unwrap_or(options.concurrency));
            let needs = Needs {
                connections,
                ..Needs::default()
            };
            enroll::run(&Run::prepare(options, needs).await?, *shared_connections).await
        }
        Scenario::Idle(options) => idle::run(&Run::prepare(options, Needs::default()).await?).await,
        Scenario::Checkin(options) => checkin::run(&Run::prepare(options, Needs::default()).await?).await,
        Scenario::PolicyRollout {
            options,
            rounds,
            policy,
        } => {
            let needs = Needs {
                change: true,
                ..Needs::default()
            };
            policy_rollout::run(&Run::prepare(options, needs).await?, *rounds, *policy).await
        }
        Scenario::Storm(options) => storm::run(&Run::prepare(options, Needs::default()).await?).await,
        Scenario::Upload { options, size } => {
            let needs = Needs {
                connections: Some(options.agents * 2),
                ..Needs::default()
            };
            upload::run(&Run::prepare(options, needs).await?, *size).await
        }
        Scenario::ActionRollout { options, rounds } => {
            let needs = Needs {
                change: true,
                ..Needs::default()
            };
            action_rollout::run(&Run::prepare(options, needs).await?, *rounds).await
        }
        Scenario::Churn { options, stay } => {
            churn::run(&Run::prepare(options, Needs::default()).await?, *stay).await
        }
        Scenario::Rotate { options, storm } => {
            rotate::run(&Run::prepare(options, Needs::default()).await?, *storm).await
        }
        Scenario::Mix {
            options,
            rounds,
            stay,
            size,
        } => {
            let needs = Needs {
                connections: Some(options.agents + options.agents / 10 + 1),
                change: true,
            };
            mix::run(&Run::prepare(options, needs).await?, *rounds, *stay, *size).await
        }
        Scenario::Size {
            server,
            agents,
            policy,
            sample,
            quiet,
            json: _,
        } => {
            let wanted = size::Wanted {
                agents: *agents,
                policy: *policy,
                sample: *sample,
            };
            size::run(server.as_deref(), wanted, *quiet).await
        }
        Scenario::Bench { .. } | Scenario::Man { .. } | Scenario::Part => {
            Err(Fault::Part("this is no scenario".into()))
        }
    }
}

/// Processor time of server and fleet over a stretch of a run.
struct Effort {
    server: Option<Taken>,
    own: Option<Taken>,
    process: ServerProcess,
}

impl Effort {
    fn begin(process: ServerProcess) -> Result<Self, Fault> {
        Ok(Self {
            server: process.taken()?,
            own: own().taken()?,
            process,
        })
    }

    /// Reports the time of each for `count` things of this name.
    fn per_thousand(&self, report: &mut Report, count: u64) -> Result<(), Fault> {
        if let (Some(before), Some(now)) = (self.server, self.process.taken()?) {
            report.number(
                "server_cpu_s_per_1000",
                per_thousand(now.cpu - before.cpu, count),
                "s",
            );
        }
        if let (Some(before), Some(now)) = (self.own, own().taken()?) {
            report.number(
                "fleet_cpu_s_per_1000",
                per_thousand(now.cpu - before.cpu, count),
                "s",
            );
        }
        Ok(())
    }

    /// Processor time of the server so far.
    fn server_cpu(&self) -> Result<Option<Duration>, Fault> {
        Ok(match (self.server, self.process.taken()?) {
            (Some(before), Some(now)) => Some(now.cpu - before.cpu),
            _ => None,
        })
    }
}

fn own() -> ServerProcess {
    ServerProcess(i32::try_from(std::process::id()).ok())
}

fn per_thousand(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1000.0 / ratio(count.max(1))
}

/// Reports the server's memory beside what it took before the fleet came.
fn memory(
    report: &mut Report,
    process: ServerProcess,
    before: Option<Taken>,
    agents: u64,
    least_kib: u64,
) -> Result<(), Fault> {
    if let (Some(before), Some(now)) = (before, process.taken()?) {
        report.count("kib_before", before.resident_kib, "KiB");
        report.count("kib_with_fleet", least_kib, "KiB");
        let more = least_kib.saturating_sub(before.resident_kib);
        report.number("kib_per_agent", ratio(more) / ratio(agents.max(1)), "KiB");
        report.count("kib_peak", now.peak_kib, "KiB");
    }
    Ok(())
}

fn millis(nanos: u64) -> f64 {
    ratio(nanos) / 1e6
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers far below the 53 bits of a float"
)]
const fn ratio(count: u64) -> f64 {
    count as f64
}
