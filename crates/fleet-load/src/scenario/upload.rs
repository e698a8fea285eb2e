//! Every agent sends one file after the other, while its poll waits.

use crate::{
    fault::Fault,
    figures::now,
    plan::{Order, Work},
    report::Report,
    run::Run,
    scenario::{Effort, ratio},
};

pub(super) async fn run(run: &Run, size: u64) -> Result<Report, Fault> {
    let mut fleet = run.fleet(Work::Upload, size)?;
    let agents = fleet.agents();
    fleet.settle(run.options.limit).await?;
    fleet.report().await?;
    let (begun, effort) = (now(), Effort::begin(run.process)?);
    fleet.order(&Order::Upload).await?;
    fleet.during("seconds", run.options.duration, || Ok(())).await?;
    let figures = fleet.report().await?;
    let (took, counts) = (ratio(now() - begun) / 1e9, fleet.counts());
    let mut report = Report::new("upload", agents);
    report.number("seconds", took, "s");
    report.count("files", counts.uploads, "whole files");
    report.count("bytes", counts.uploaded_bytes, "bytes taken");
    let megabytes = ratio(counts.uploaded_bytes) / 1e6;
    report.number("mb_per_second", megabytes / took, "MB/s");
    report.count(
        "refused",
        figures.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    if let Some(cpu) = effort.server_cpu()? {
        report.number(
            "server_cpu_s_per_gb",
            cpu.as_secs_f64() * 1000.0 / megabytes.max(0.001),
            "s",
        );
    }
    if let Some(now) = run.process.taken()? {
        report.count("kib_peak", now.peak_kib, "KiB");
    }
    report.take(&figures);
    Ok(report)
}
