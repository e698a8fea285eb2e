//! Agents come and go: each stays for a while, breaks its connection in the middle of its poll and comes back.

use crate::{
    fault::Fault,
    figures::now,
    ledger::Finding,
    plan::Work,
    report::Report,
    run::Run,
    scenario::{memory, ratio},
};

pub(super) async fn run(run: &Run, stay: std::time::Duration) -> Result<Report, Fault> {
    let before = run.process.taken()?;
    let mut fleet = run.fleet(Work::Churn { stay }, 0)?;
    let agents = fleet.agents();
    fleet.arrive(run.options.limit).await?;
    fleet.report().await?;
    let (counts, begun) = (fleet.counts(), now());
    let (mut samples, mut least) = (Vec::new(), u64::MAX);
    let look = || {
        if let Some(taken) = run.process.taken()? {
            samples.push((ratio(now() - begun) / 1e9, ratio(taken.resident_kib)));
            least = least.min(taken.resident_kib);
        }
        Ok(())
    };
    fleet.during("seconds", run.options.duration, look).await?;
    let figures = fleet.report().await?;
    let mut report = Report::new("churn", agents);
    report.number("seconds", run.options.duration.as_secs_f64(), "s");
    report.count("left_and_came_back", fleet.counts().left - counts.left, "times");
    report.count(
        "polls_answered",
        fleet.counts().answered - counts.answered,
        "polls",
    );
    report.count(
        "refused",
        figures.failed(|kind| kind.starts_with("status")),
        "answers",
    );
    memory(&mut report, run.process, before, agents, least)?;
    if let Some(Slope { each_second, noise }) = slope(&samples) {
        report.number("kib_more_in_a_minute", each_second * 60.0, "KiB");
        report.number(
            "kib_more_in_a_minute_noise",
            noise * 60.0,
            "KiB, twice the standard error",
        );
    }
    // An agent that leaves counts nothing: what failed was not the agents' doing.
    report.found(
        Finding::BrokenPoll,
        figures.failed(|kind| !kind.starts_with("status")),
    );
    report.take(&figures);
    Ok(report)
}

/// A straight line through samples.
struct Slope {
    each_second: f64,
    /// Twice the standard error: a slope within it is flat.
    noise: f64,
}

fn slope(samples: &[(f64, f64)]) -> Option<Slope> {
    let count = ratio(samples.len() as u64);
    if count < 3.0 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let spread: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    let each_second = samples
        .iter()
        .map(|sample| (sample.0 - x) * (sample.1 - y))
        .sum::<f64>()
        / spread;
    let off = |sample: &(f64, f64)| (sample.1 - y - each_second * (sample.0 - x)).powi(2);
    let rest: f64 = samples.iter().map(off).sum();
    Some(Slope {
        each_second,
        noise: 2.0 * (rest / (count - 2.0) / spread).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_noise_is_not_taken_for_one() {
        let rising: Vec<_> = (0..100)
            .map(|second| (f64::from(second), 7.0f64.mul_add(f64::from(second), 3.0)))
            .collect();
        let Slope { each_second, noise } = slope(&rising).unwrap();
        assert!((each_second - 7.0).abs() < 1e-6 && noise < 1e-6);
        let shaking: Vec<_> = (0..100)
            .map(|second| (f64::from(second), f64::from(second % 2)))
            .collect();
        let Slope { each_second, noise } = slope(&shaking).unwrap();
        assert!(each_second.abs() <= noise, "{each_second} {noise}");
        assert!(slope(&[(0.0, 1.0)]).is_none());
    }
}
