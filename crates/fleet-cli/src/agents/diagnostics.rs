//! `fleet-server agents diagnostics ID`: asks an agent for diagnostics, waits for them, saves the archive.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    fault::Fault,
    output::{Output, text},
    server::{Api, segment},
    uploads,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DiagnosticsArgs {
    /// The agent's id
    agent: String,
    /// Where to save the archive [default: diagnostics-AGENT.zip]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask for a CPU profile too; the agent takes half a minute longer
    #[arg(long)]
    cpu: bool,
    /// Seconds to wait for the agent
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
}

/// Asks, waits with a line for each step, saves.
pub(crate) fn run(args: &DiagnosticsArgs, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    let metrics: &[&str] = if args.cpu { &["CPU"] } else { &[] };
    let path = format!("/api/fleet/agents/{}/request_diagnostics", segment(&args.agent));
    let asked = api.post(&path, &json!({"additional_metrics": metrics}))?;
    let action = text(&asked["actionId"]);
    out.line(&format!("asked agent {} (action {action})", args.agent))?;
    let file = wait(args, api, &action, out)?;
    let to = args.output.clone().unwrap_or_else(|| {
        let agent = uploads::plain(&args.agent);
        PathBuf::from(format!("diagnostics-{agent}.zip"))
    });
    uploads::save(api, &file, &to, out)
}

/// The file's id, once it is there.
fn wait(args: &DiagnosticsArgs, api: &Api<'_>, action: &str, out: &mut Output<'_>) -> Result<String, Fault> {
    let failed = |message: String| Fault::Refused { message, status: 0 };
    let (start, mut told) = (Instant::now(), "");
    loop {
        let line = match state(args, api, action)? {
            State::Ready(file) => return Ok(file),
            State::Failed(reason) => {
                return Err(failed(format!(
                    "agent {} sent no diagnostics: {reason}",
                    args.agent
                )));
            }
            State::Sending => "the agent sends its archive …",
            State::Waiting => "waiting for the agent …",
        };
        if line != told {
            out.line(line)?;
            out.raw("")?;
            told = line;
        }
        if start.elapsed() >= Duration::from_secs(args.wait) {
            return Err(failed(format!(
                "no diagnostics within {} s; they may still come: fleet-server uploads list {}",
                args.wait, args.agent
            )));
        }
        pause();
    }
}

enum State {
    Waiting,
    Sending,
    Ready(String),
    Failed(String),
}

fn state(args: &DiagnosticsArgs, api: &Api<'_>, action: &str) -> Result<State, Fault> {
    let listed = uploads::list(api, &args.agent)?;
    if let Some(item) = listed.iter().find(|item| item["actionId"] == action) {
        return Ok(match item["status"].as_str() {
            Some("READY") => State::Ready(text(&item["id"])),
            Some("AWAITING_UPLOAD") => answer(api, action)?.map_or(State::Sending, State::Failed),
            status => State::Failed(format!("the file is {}", status.unwrap_or("of no known state"))),
        });
    }
    Ok(answer(api, action)?.map_or(State::Waiting, State::Failed))
}

/// Why the action failed, if it did.
fn answer(api: &Api<'_>, action: &str) -> Result<Option<String>, Fault> {
    let item = api.item(&format!("/api/fleet/agents/actions/{}", segment(action)))?;
    let error = item["results"]["items"][0]["error"].as_str();
    Ok(match (item["status"].as_str(), error) {
        (_, Some(error)) => Some(error.to_owned()),
        (Some(ended @ ("FAILED" | "CANCELLED" | "EXPIRED")), None) => Some(format!("the action is {ended}")),
        _ => None,
    })
}

/// The server is asked again after this; there is nothing to wait on.
#[expect(
    clippy::disallowed_methods,
    reason = "a command that polls a server sleeps in between"
)]
fn pause() {
    thread::sleep(Duration::from_secs(1));
}
