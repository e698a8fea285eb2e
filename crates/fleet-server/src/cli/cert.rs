//! `fleet-server cert`: what a running server serves, and whether files could be served.

use std::{io::Write, path::PathBuf, time::SystemTime};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tls_reload::{Generation, PemSource, Settings};

use super::{Exit, GlobalArgs};
use crate::client::{Client, ClientArgs, Target};

/// Options of `cert`.
#[derive(Clone, Debug, clap::Args)]
pub struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum CertCommand {
    /// Show what a running server serves and how its last reloads went
    Show {
        #[command(flatten)]
        client: ClientArgs,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check files with the server's own validation, before deploying them
    Check(CheckArgs),
}

/// What to check: a pair, or the sets of a configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Certificate chain, leaf first; may also hold the key
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// File with the key's passphrase
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key_passphrase_path: Option<PathBuf>,
    /// Client CA; may be repeated
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_authority: Vec<PathBuf>,
    /// Exit with 2 if there are warnings
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// The server can not be asked, or there is nothing to check.
pub fn run(args: &CertArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.command {
        CertCommand::Show { client, json } => show(client, *json, global, out),
        CertCommand::Check(check) => self::check(check, global, out),
    }
}

fn show(client: &ClientArgs, json: bool, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let client = Client::new(client, &global.data_dir(), Target::Admin)?;
    let (code, body) = client.get("/api/tls", true)?;
    if code != 200 {
        bail!("{} answered {code}: {body}", client.url());
    }
    let state: Value =
        serde_json::from_str(&body).with_context(|| format!("{} is no Fleet Server", client.url()))?;
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

fn set_for_people(name: &str, set: &Value, out: &mut dyn Write) -> Result<()> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    writeln!(out, "{name}:")?;
    for pair in set["generation"]["pairs"].as_array().into_iter().flatten() {
        let leaf = &pair["leaf"];
        writeln!(out, "  fingerprint  {}", text(&leaf["fingerprint"]))?;
        writeln!(out, "  serial       {}", text(&leaf["serial"]))?;
        writeln!(out, "  issuer       {}", text(&leaf["issuer_common_name"]))?;
        let names: Vec<String> = leaf["names"].as_array().into_iter().flatten().map(text).collect();
        writeln!(out, "  names        {}", names.join(", "))?;
        writeln!(
            out,
            "  valid        {} to {}",
            text(&leaf["not_before"]),
            text(&leaf["not_after"])
        )?;
        writeln!(out, "  certificate  {}", text(&pair["certificate_file"]))?;
        writeln!(out, "  key          {}", text(&pair["key_file"]))?;
    }
    writeln!(out, "  watched by   {}", text(&set["watch_mode"]))?;
    if let Some(last) = set["attempts"].as_array().and_then(|attempts| attempts.last()) {
        writeln!(
            out,
            "  last reload  {} {}: {}",
            text(&last["at"]),
            text(&last["result"]),
            text(&last["message"])
        )?;
    }
    match set["degraded"].as_str() {
        Some(reason) => writeln!(out, "  state        degraded: {reason}")?,
        None => writeln!(out, "  state        healthy")?,
    }
    Ok(())
}

fn check(args: &CheckArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let sets = match &args.certificate {
        Some(certificate) => vec![("the given files", given(args, certificate))],
        None => configured(global)?,
    };
    if sets.is_empty() {
        bail!("nothing to check: give --certificate and --key, or -c with a file that has an ssl section");
    }
    let mut worst = Exit::Success;
    for (name, settings) in sets {
        worst = worst.max(one(name, &settings, args.strict, out)?);
    }
    Ok(worst)
}

fn given(args: &CheckArgs, certificate: &std::path::Path) -> Settings {
    let path = |path: &PathBuf| PemSource::Path(path.clone());
    let mut settings = Settings::single(
        PemSource::Path(certificate.to_owned()),
        args.key.as_ref().map(path),
    );
    settings.client_authorities = args.certificate_authority.iter().map(path).collect();
    if let Some(pair) = settings.pairs.first_mut() {
        pair.passphrase = args.key_passphrase_path.clone().map(tls_reload::Passphrase::Path);
    }
    settings
}

fn configured(global: &GlobalArgs) -> Result<Vec<(&'static str, Settings)>> {
    let plan = crate::planning::plan(&global.load()?)?;
    let agents = plan.agents.tls.map(|tls| ("inputs.0.server.ssl", tls));
    let admin = plan
        .admin
        .and_then(|admin| admin.tls)
        .map(|tls| ("admin.ssl", tls));
    Ok(agents.into_iter().chain(admin).collect())
}

fn one(name: &str, settings: &Settings, strict: bool, out: &mut dyn Write) -> Result<Exit> {
    match Generation::load(settings, SystemTime::now()) {
        Ok(generation) => {
            writeln!(
                out,
                "{name}: can be served, fingerprint {}",
                generation.info().fingerprint()
            )?;
            for warning in generation.warnings() {
                writeln!(out, "  warning: {warning}")?;
            }
            let has_warnings = !generation.warnings().is_empty();
            Ok(if strict && has_warnings {
                Exit::Warnings
            } else {
                Exit::Success
            })
        }
        Err(rejected) => {
            writeln!(out, "{name}: can not be served")?;
            writeln!(out, "  error: {rejected}\n  hint: {}", rejected.hint())?;
            Ok(Exit::Failure)
        }
    }
}
