//! The policy of all waiting agents changes, round after round: every agent must get every revision, once, in order.

use crate::{
    fault::Fault,
    figures::Step,
    ledger::Finding,
    plan::Work,
    report::Report,
    run::Run,
    scenario::{Effort, millis, per_thousand, ratio},
};

pub(super) async fn run(run: &Run, rounds: usize, bytes: Option<u64>) -> Result<Report, Fault> {
    let limit = run.options.limit;
    let mut fleet = run.fleet(Work::CheckIn, 0)?;
    let agents = fleet.agents();
    fleet.settle(limit).await?;
    let mut change = run.policy_change(bytes).await?;
    if bytes.is_some() {
        // The large policy is a revision of its own.
        fleet
            .until(
                "agents have the large policy",
                2 * agents,
                |counts| counts.policies,
                limit,
            )
            .await?;
        fleet.settle(limit).await?;
    }
    fleet.report().await?;

    let mut report = Report::new("policy-rollout", agents);
    let (mut accepted, mut first, mut half, mut last, mut cpu) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut delivered, mut delivered_bytes) = (0, 0);
    for _ in 0..rounds {
        let (before, effort) = (fleet.counts(), Effort::begin(run.process)?);
        let changed = fleet.meanwhile(change.make()).await?;
        let all = before.policies + agents;
        fleet
            .reach("agents have it", all, |counts| counts.policies, limit)
            .await?;
        let acked = before.acked + agents;
        fleet
            .reach("agents acknowledged", acked, |counts| counts.acked, limit)
            .await?;
        fleet.settle(limit).await?;
        if let Some(took) = effort.server_cpu()? {
            cpu.push(per_thousand(took, agents));
        }
        let figures = fleet.report().await?;
        let these = figures
            .deliveries
            .iter()
            .filter(|(revision, _)| changed.revision.is_none_or(|wanted| wanted == *revision));
        let mut times: Vec<u64> = these.map(|(_, at)| at.saturating_sub(changed.begun)).collect();
        times.sort_unstable();
        for time in &times {
            report.time(Step::Delivery, std::time::Duration::from_nanos(*time));
        }
        delivered_bytes += figures.delivered_bytes;
        delivered += figures.deliveries.len() as u64;
        report.found(Finding::Lost, agents.saturating_sub(times.len() as u64));
        report.found(Finding::BrokenPoll, figures.failed(|_| true));
        accepted.push(millis(changed.accepted - changed.begun));
        first.extend(times.first().copied().map(millis));
        half.extend(times.get(times.len() / 2).copied().map(millis));
        last.extend(times.last().copied().map(millis));
        report.take(&figures);
    }
    report.rounds("accepted_ms", &accepted, "ms");
    report.rounds("first_ms", &first, "ms");
    report.rounds("median_ms", &half, "ms");
    report.rounds("last_ms", &last, "ms");
    if !cpu.is_empty() {
        let milliseconds: Vec<f64> = cpu.iter().map(|seconds| seconds * 1000.0).collect();
        report.rounds(
            "server_cpu_ms_per_1000",
            &milliseconds,
            "ms, acknowledgement and next poll included",
        );
    }
    report.number(
        "delivery_bytes",
        ratio(delivered_bytes) / ratio(delivered.max(1)),
        "bytes, as compressed",
    );
    if let Some(now) = run.process.taken()? {
        report.count("kib_with_fleet", now.resident_kib, "KiB");
        report.count("kib_peak", now.peak_kib, "KiB");
    }
    change.restore().await?;
    Ok(report)
}
