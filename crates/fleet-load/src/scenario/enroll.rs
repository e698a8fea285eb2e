//! All agents enrol, as many at a time as `--concurrency` says.

use crate::{
    fault::Fault,
    figures::now,
    plan::Work,
    report::Report,
    run::Run,
    scenario::{Effort, memory, ratio},
};

pub(super) async fn run(run: &Run, connections: Option<usize>) -> Result<Report, Fault> {
    let before = run.process.taken()?;
    let effort = Effort::begin(run.process)?;
    let begun = now();
    let mut fleet = run.fleet(Work::Enroll { connections }, 0)?;
    let agents = fleet.agents();
    fleet
        .until(
            "agents enrolled",
            agents,
            |counts| counts.enrolled,
            run.options.limit,
        )
        .await?;
    let figures = fleet.report().await?;
    let mut report = Report::new("enroll", agents);
    let took = figures.last_enrolled.saturating_sub(begun);
    report.number("seconds", ratio(took) / 1e9, "s");
    // The first agent enrolled before, as a trial.
    let timed = agents.saturating_sub(1);
    report.number(
        "per_second",
        ratio(timed) * 1e9 / ratio(took.max(1)),
        "enrolments/s",
    );
    report.count(
        "refused",
        figures.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    effort.per_thousand(&mut report, timed)?;
    if let Some(now) = run.process.taken()? {
        memory(&mut report, run.process, before, agents, now.resident_kib)?;
    }
    report.take(&figures);
    Ok(report)
}
