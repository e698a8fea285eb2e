//! All agents come back at one moment: they lost their connections, or the server was restarted (`--trigger`).

use crate::{
    change,
    fault::Fault,
    figures::{Step, now},
    plan::{Order, Work},
    report::Report,
    run::Run,
    scenario::{Effort, millis},
};

pub(super) async fn run(run: &Run) -> Result<Report, Fault> {
    let mut fleet = run.fleet(Work::CheckIn, 0)?;
    let agents = fleet.agents();
    fleet.settle(run.options.limit).await?;
    fleet.report().await?;
    let effort = Effort::begin(run.process)?;
    let at = now();
    let breaks = run.options.trigger.is_none();
    fleet.order(&Order::Outage { at, breaks }).await?;
    if let Some(command) = &run.options.trigger {
        fleet.meanwhile(change::run(command)).await?;
    }
    let away = now() - at;
    fleet
        .until(
            "agents are back",
            agents,
            |counts| counts.returned,
            run.options.limit,
        )
        .await?;
    let mut report = Report::new("storm", agents);
    // A server that was restarted is another process.
    if breaks {
        if let Some(cpu) = effort.server_cpu()? {
            report.number("server_cpu_s", cpu.as_secs_f64(), "s until the last was back");
        }
    } else {
        report.number("command_ms", millis(away), "ms, which count");
    }
    // Back is who stays: a poll that is refused a moment later shows here.
    fleet.during("seconds", run.options.duration, || Ok(())).await?;
    let figures = fleet.report().await?;
    let mut times: Vec<u64> = figures
        .returns
        .iter()
        .filter(|time| **time > 0)
        .map(|time| time - at)
        .collect();
    times.sort_unstable();
    for time in &times {
        report.time(Step::Return, std::time::Duration::from_nanos(*time));
    }
    report.count("back", times.len() as u64, "agents");
    report.number(
        "median_ms",
        times.get(times.len() / 2).copied().map_or(0.0, millis),
        "ms",
    );
    report.number("last_ms", times.last().copied().map_or(0.0, millis), "ms");
    report.count(
        "refused",
        figures.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    report.count(
        "not_connected",
        figures.failed(|kind| kind.starts_with("connect")),
        "attempts",
    );
    report.count(
        "broken",
        figures.failed(|kind| kind.starts_with("broken")),
        "polls",
    );
    if breaks && let Some(now) = run.process.taken()? {
        report.count("kib_with_fleet", now.resident_kib, "KiB");
        report.count("kib_peak", now.peak_kib, "KiB");
    }
    report.take(&figures);
    Ok(report)
}
