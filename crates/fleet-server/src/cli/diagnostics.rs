//! `fleet-server diagnostics AGENT`: asks an agent for diagnostics, waits for them, saves the archive.

use std::{
    io::Write,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hyper::Method;
use notation::terminal::harmless;
use serde_json::json;

use super::{
    Exit, GlobalArgs,
    uploads::{self, in_path, plain, succeeded},
};
use crate::client::{Client, ClientArgs};

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
    #[command(flatten)]
    client: ClientArgs,
}

/// Asks, waits with a line for each step, saves.
///
/// # Errors
/// The server refuses, the agent fails or takes too long, or the file cannot be written.
pub(crate) fn run(args: &DiagnosticsArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let client = Client::of_operator(&args.client, global)?;
    let metrics: &[&str] = if args.cpu { &["CPU"] } else { &[] };
    let path = format!("/api/fleet/agents/{}/request_diagnostics", in_path(&args.agent));
    let body = json!({"additional_metrics": metrics});
    let asked = succeeded(&client, client.call(Method::POST, &path, Some(&body))?)?;
    let action = asked["actionId"].as_str().context("the answer names no action")?;
    writeln!(out, "asked agent {} (action {action})", args.agent)?;
    let file = wait(args, &client, action, out)?;
    let to = args.output.clone();
    let to = to.unwrap_or_else(|| PathBuf::from(format!("diagnostics-{}.zip", plain(&args.agent))));
    uploads::save(&client, &file, &to, out)?;
    Ok(Exit::Success)
}

/// The file's id, once it is there.
fn wait(args: &DiagnosticsArgs, client: &Client, action: &str, out: &mut dyn Write) -> Result<String> {
    let (start, mut told) = (Instant::now(), "");
    loop {
        let state = state(args, client, action)?;
        if let State::Ready(file) = state {
            return Ok(file);
        }
        if let State::Failed(reason) = state {
            bail!("agent {} sent no diagnostics: {reason}", args.agent);
        }
        let line = match state {
            State::Sending => "the agent sends its archive",
            _ => "waiting for the agent",
        };
        if line != told {
            writeln!(out, "{line} …")?;
            out.flush()?;
            told = line;
        }
        if start.elapsed() >= Duration::from_secs(args.wait) {
            bail!(
                "no diagnostics within {} s; they may still come: fleet-server uploads list {}",
                args.wait,
                args.agent
            );
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

fn state(args: &DiagnosticsArgs, client: &Client, action: &str) -> Result<State> {
    let listed = uploads::list(client, &args.agent)?;
    let items = listed["items"].as_array().into_iter().flatten();
    if let Some(item) = items.clone().find(|item| item["actionId"] == action) {
        return Ok(match item["status"].as_str() {
            Some("READY") => State::Ready(item["id"].as_str().unwrap_or_default().to_owned()),
            Some("AWAITING_UPLOAD") => answer(client, action)?.map_or(State::Sending, State::Failed),
            status => State::Failed(format!("the file is {}", status.unwrap_or("of no known state"))),
        });
    }
    Ok(answer(client, action)?.map_or(State::Waiting, State::Failed))
}

/// Why the action failed, if it did.
fn answer(client: &Client, action: &str) -> Result<Option<String>> {
    let path = format!("/api/fleet/agents/actions/{}", in_path(action));
    let progress = succeeded(client, client.call(Method::GET, &path, None)?)?;
    let item = &progress["item"];
    let error = item["results"]["items"][0]["error"].as_str();
    Ok(match (item["status"].as_str(), error) {
        (_, Some(error)) => Some(harmless(error).into_owned()),
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
