//! The server's certificate is replaced while all agents wait, or (with `--storm`) while all of them come back.
//!
//! A probe opens connections all the time; none may fail, and one must show the new certificate.

use std::time::Duration;

use crate::{
    change,
    connection::Way,
    fault::Fault,
    figures::now,
    ledger::Finding,
    plan::{Order, Work},
    report::Report,
    run::Run,
    scenario::millis,
};

pub(super) async fn run(run: &Run, storms: bool) -> Result<Report, Fault> {
    let command = run.options.trigger.as_deref().ok_or(Fault::Missing {
        option: "--trigger",
        why: "somebody must replace the certificate: --trigger 'cp new.crt tls.crt && cp new.key tls.key'",
    })?;
    let limit = run.options.limit;
    let mut fleet = run.fleet(Work::CheckIn, 0)?;
    let agents = fleet.agents();
    fleet.settle(limit).await?;
    fleet.report().await?;
    let way = run.way()?;
    let old = certificate(&way).await?;
    let at = now();
    fleet.order(&Order::Outage { at, breaks: storms }).await?;
    fleet.meanwhile(change::run(command)).await?;
    let replaced = now();
    let (seen, probes) = fleet.meanwhile(until_new(&way, &old, limit)).await?;
    if storms {
        fleet
            .until("agents are back", agents, |counts| counts.returned, limit)
            .await?;
    }
    fleet.during("seconds", run.options.duration, || Ok(())).await?;
    let figures = fleet.report().await?;
    let mut report = Report::new("rotate", agents);
    report.number("command_ms", millis(replaced - at), "ms");
    report.number(
        "new_certificate_ms",
        millis(seen - at),
        "ms, the command included",
    );
    report.count("probes", probes, "connections until then, none of which failed");
    report.count("waiting", fleet.counts().waiting, "agents");
    report.count("failed", figures.failed(|_| true), "calls");
    report.found(Finding::BrokenPoll, figures.failed(|_| true));
    report.take(&figures);
    Ok(report)
}

/// Connects until the server shows another certificate; tells when, and how often.
async fn until_new(way: &Way, old: &[u8], limit: Duration) -> Result<(u64, u64), Fault> {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let begun = tokio::time::Instant::now();
    let mut probes = 0;
    while begun.elapsed() < limit {
        ticks.tick().await;
        probes += 1;
        if certificate(way).await? != old {
            return Ok((now(), probes));
        }
    }
    Err(Fault::GaveUp {
        after: limit,
        what: "the server still shows the old certificate".into(),
        last: None,
    })
}

async fn certificate(way: &Way) -> Result<Vec<u8>, Fault> {
    let connection = way.connect(0).await.map_err(|error| Fault::Handshake {
        url: way.authority.clone(),
        reason: error.to_string(),
    })?;
    connection
        .certificate()
        .map(<[u8]>::to_vec)
        .ok_or(Fault::Missing {
            option: "https",
            why: "only a server with TLS has a certificate to rotate",
        })
}
