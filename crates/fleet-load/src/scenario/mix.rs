//! A day in a minute: most agents wait, one in ten comes and goes, one in ten uploads, and the policy changes.

use std::time::Duration;

use crate::{
    fault::Fault,
    ledger::Finding,
    plan::{Order, Work},
    report::Report,
    run::Run,
    scenario::{Effort, memory},
};

pub(super) async fn run(run: &Run, rounds: usize, stay: Duration, size: u64) -> Result<Report, Fault> {
    let (limit, before) = (run.options.limit, run.process.taken()?);
    let mut fleet = run.fleet(Work::Mix { stay }, size)?;
    let agents = fleet.agents();
    fleet.arrive(limit).await?;
    fleet.report().await?;
    let mut change = run.policy_change(None).await?;
    let (counts, effort) = (fleet.counts(), Effort::begin(run.process)?);
    fleet.order(&Order::Upload).await?;
    let part = run
        .options
        .duration
        .div_f64(f64::from(u32::try_from(rounds + 1).unwrap_or(u32::MAX)));
    let (mut revision, mut least, mut figures) = (None, u64::MAX, crate::figures::Figures::default());
    for round in 0..=rounds {
        if round > 0 {
            revision = fleet.meanwhile(change.make()).await?.revision;
        }
        let look = || {
            if let Some(taken) = run.process.taken()? {
                least = least.min(taken.resident_kib);
            }
            Ok(())
        };
        fleet.during("seconds", part, look).await?;
    }
    // Who was away for the last change gets it on return.
    let settled = tokio::time::Instant::now() + limit;
    let got = loop {
        figures.add(fleet.report().await?);
        let got = figures
            .deliveries
            .iter()
            .filter(|(came, _)| Some(*came) == revision)
            .count() as u64;
        if revision.is_none() || got >= agents || tokio::time::Instant::now() >= settled {
            break got;
        }
        fleet
            .during("seconds for the last", Duration::from_secs(1), || Ok(()))
            .await?;
    };
    let mut report = Report::new("mix", agents);
    report.count(
        "policies_delivered",
        fleet.counts().policies - counts.policies,
        "policies",
    );
    report.count("left_and_came_back", fleet.counts().left - counts.left, "times");
    report.count("files", fleet.counts().uploads, "whole files");
    report.count("bytes", fleet.counts().uploaded_bytes, "bytes taken");
    report.count(
        "refused",
        figures.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    if let Some(cpu) = effort.server_cpu()? {
        report.number("server_cpu_s", cpu.as_secs_f64(), "s");
    }
    memory(&mut report, run.process, before, agents, least)?;
    if revision.is_some() {
        report.found(Finding::Lost, agents.saturating_sub(got));
    }
    report.found(
        Finding::BrokenPoll,
        figures.failed(|kind| !kind.starts_with("status")),
    );
    report.take(&figures);
    change.restore().await?;
    Ok(report)
}
