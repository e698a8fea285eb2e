//! Agents check in again and again, with nothing to deliver.

use std::time::Duration;

use crate::{
    fault::Fault,
    figures::{Step, now},
    plan::Work,
    report::Report,
    run::Run,
    scenario::{Effort, ratio},
};

pub(super) async fn run(run: &Run) -> Result<Report, Fault> {
    let mut fleet = run.fleet(Work::CheckIn, 0)?;
    let agents = fleet.agents();
    fleet.arrive(run.options.limit).await?;
    // Second polls say what the first delivered; from then on every check-in is alike.
    fleet.during("seconds of warming up", WARM_UP, || Ok(())).await?;
    fleet.report().await?;
    let (before, begun, effort) = (fleet.counts(), now(), Effort::begin(run.process)?);
    fleet.during("seconds", run.options.duration, || Ok(())).await?;
    let figures = fleet.report().await?;
    let took = now() - begun;
    let answered = fleet.counts().answered - before.answered;
    let mut report = Report::new("checkin", agents);
    report.number("seconds", ratio(took) / 1e9, "s");
    report.count("answered", answered, "check-ins");
    report.number(
        "per_second",
        ratio(answered) * 1e9 / ratio(took.max(1)),
        "check-ins/s",
    );
    report.count(
        "refused",
        figures.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    report.count(
        "not_answered",
        figures.failed(|kind| !kind.starts_with("status")),
        "check-ins",
    );
    effort.per_thousand(&mut report, answered)?;
    let held = figures.times.get(&Step::Checkin).map(|times| times.at(0.5));
    if answered == 0 || held.is_some_and(|held| held > Duration::from_secs(2)) {
        return Err(Fault::HeldPolls);
    }
    report.take(&figures);
    Ok(report)
}

const WARM_UP: Duration = Duration::from_secs(2);
