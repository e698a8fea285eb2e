//! All agents wait; nothing is done to them, so nothing may happen but polls that end in their time.

use crate::{
    fault::Fault,
    ledger::Finding,
    plan::Work,
    report::Report,
    run::Run,
    scenario::{Effort, memory},
};

pub(super) async fn run(run: &Run) -> Result<Report, Fault> {
    let before = run.process.taken()?;
    let mut fleet = run.fleet(Work::CheckIn, 0)?;
    let agents = fleet.agents();
    fleet.settle(run.options.limit).await?;
    let arrival = fleet.report().await?;
    let (counts, effort) = (fleet.counts(), Effort::begin(run.process)?);
    let mut least = u64::MAX;
    let look = || {
        if let Some(now) = run.process.taken()? {
            least = least.min(now.resident_kib);
        }
        Ok(())
    };
    fleet.during("seconds", run.options.duration, look).await?;
    let figures = fleet.report().await?;
    let mut report = Report::new("idle", agents);
    report.number("seconds", run.options.duration.as_secs_f64(), "s");
    report.count("waiting", fleet.counts().waiting, "agents");
    report.count(
        "polls_answered",
        fleet.counts().answered - counts.answered,
        "polls",
    );
    report.count(
        "refused_on_arrival",
        arrival.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    if let Some(cpu) = effort.server_cpu()? {
        let part = cpu.as_secs_f64() / run.options.duration.as_secs_f64();
        report.number("server_cpu_percent_of_a_core", part * 100.0, "%");
    }
    memory(&mut report, run.process, before, agents, least)?;
    report.found(Finding::BrokenPoll, figures.failed(|_| true));
    report.take(&figures);
    Ok(report)
}
