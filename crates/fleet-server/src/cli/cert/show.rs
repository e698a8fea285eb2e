//! `cert show`: what a running server serves and how its last reloads went, for people.
//!
//! The server's answer to `GET /api/tls` goes in, lines come out. Only the exit code is decided here.

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cli::{Exit, GlobalArgs};
use crate::client::{Answer, Client, ClientArgs, Target};

pub(super) fn run(client: &ClientArgs, json: bool, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let state = ask(client, global)?;
    if json {
        writeln!(out, "{state:#}")?;
        return Ok(Exit::Success);
    }
    let sets = state
        .get("sets")
        .and_then(Value::as_object)
        .context("the answer names no TLS set")?;
    if sets.is_empty() {
        writeln!(out, "no TLS: the listeners speak plain HTTP")?;
    }
    for (name, set) in sets {
        set_for_people(name, set, out)?;
    }
    let is_healthy = sets.values().all(|set| set["healthy"] == true);
    Ok(if is_healthy { Exit::Success } else { Exit::Failure })
}

fn ask(args: &ClientArgs, global: &GlobalArgs) -> Result<Value> {
    if !global.is_configured() {
        return state_of(&Client::new(args, &global.data_dir(), Target::Admin)?);
    }
    // quickstart adds to a configuration (TLS, for example). If it started the server, its file says which address
    // answers. That file may be old, so the configuration is tried first.
    let quickstart = match &global.data_dir {
        Some(data) => Client::of_quickstart(args, data)?,
        None => None,
    };
    let Some(quickstart) = quickstart else {
        return state_of(&Client::of_config(args, &global.load()?)?);
    };
    state_of(&quickstart).or_else(|first| {
        let configured = Client::of_config(args, &global.load()?)?;
        state_of(&configured)
            .with_context(|| format!("nor does the server that quickstart has started answer: {first:#}"))
    })
}

fn state_of(client: &Client) -> Result<Value> {
    let Answer { status, body, .. } = client.get("/api/tls", true)?;
    if status != 200 {
        bail!("{} answered {status}: {body}", client.url());
    }
    serde_json::from_str(&body).with_context(|| format!("{} is not a Fleet Server", client.url()))
}

fn set_for_people(name: &str, set: &Value, out: &mut dyn Write) -> Result<()> {
    let generation = &set["generation"];
    writeln!(out, "{name}:")?;
    for pair in list(&generation["pairs"]) {
        let leaf = &pair["leaf"];
        writeln!(out, "  fingerprint  {}", text(&leaf["fingerprint"]))?;
        writeln!(out, "  serial       {}", text(&leaf["serial"]))?;
        writeln!(out, "  issuer       {}", text(&leaf["issuer_common_name"]))?;
        writeln!(out, "  names        {}", texts(&leaf["names"]))?;
        if pair["sni"] != leaf["names"] {
            writeln!(out, "  served for   {}", texts(&pair["sni"]))?;
        }
        writeln!(
            out,
            "  valid        {} to {}",
            text(&leaf["not_before"]),
            text(&leaf["not_after"])
        )?;
        writeln!(out, "  key          {}", text(&leaf["key"]))?;
        match &pair["intermediates"] {
            Value::Number(one) if one.as_u64() == Some(1) => writeln!(out, "  sent with    1 intermediate")?,
            several => writeln!(out, "  sent with    {} intermediates", text(several))?,
        }
        for issuer in list(&pair["issuers"]) {
            writeln!(
                out,
                "  issued by    {} until {}",
                text(&issuer["subject"]),
                text(&issuer["not_after"])
            )?;
        }
        writeln!(
            out,
            "  files        {}, {}",
            text(&pair["certificate_file"]),
            text(&pair["key_file"])
        )?;
    }
    writeln!(
        out,
        "  clients      {}",
        text(&generation["client_authentication"])
    )?;
    for authority in list(&generation["client_authorities"]) {
        writeln!(
            out,
            "  client CA    {} until {}, {}",
            text(&authority["subject"]),
            text(&authority["not_after"]),
            text(&authority["fingerprint"])
        )?;
    }
    for revoked in list(&generation["revocation_lists"]) {
        writeln!(
            out,
            "  revocations  {} of {}, next list {}, {}",
            text(&revoked["revoked"]),
            text(&revoked["issuer_common_name"]),
            revoked["next_update"].as_str().unwrap_or("never"),
            text(&revoked["file"])
        )?;
    }
    for warning in list(&generation["warnings"]) {
        writeln!(out, "  warning      {}", text(warning))?;
    }
    writeln!(out, "  watched by   {}", text(&set["watch_mode"]))?;
    if let Some(problem) = set["watch_problem"].as_str() {
        writeln!(out, "  no events    {problem}")?;
    }
    for path in list(&set["replaced_outside"]) {
        writeln!(
            out,
            "  never seen   {}: a mounted file, replaced outside",
            text(path)
        )?;
    }
    if let Some(last) = list(&set["attempts"]).last() {
        writeln!(
            out,
            "  last reload  {} {}: {}",
            text(&last["at"]),
            text(&last["result"]),
            text(&last["message"])
        )?;
    }
    if let Some(hint) = set["failure"]["hint"].as_str() {
        writeln!(out, "  hint         {hint}")?;
    }
    if let Some(retry) = set["pending_retry"].as_str() {
        writeln!(out, "  next retry   {retry}")?;
    }
    match set["degraded"].as_str() {
        Some(reason) => writeln!(out, "  state        degraded: {reason}")?,
        None => writeln!(out, "  state        healthy")?,
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn texts(value: &Value) -> String {
    list(value).iter().map(text).collect::<Vec<_>>().join(", ")
}
