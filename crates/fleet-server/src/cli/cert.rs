//! `fleet-server cert`: what a running server serves, and whether files could be served.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tls_reload::{Findings, Generation, LoadError, Passphrase, PemSource, Settings, Warning};

use super::{Exit, GlobalArgs};
use crate::client::{Client, ClientArgs, Target};

/// Options of `cert`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum CertCommand {
    /// Show what a running server serves and how its last reloads went; exits 1 if it is degraded
    Show {
        #[command(flatten)]
        client: ClientArgs,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check files with the server's own validation, before deploying them; exits 1 for an error
    Check(CheckArgs),
}

/// What to check: a pair, or the sets of a configuration.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
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
    /// List of revoked client certificates; may be repeated
    #[arg(long, value_name = "FILE", requires = "certificate_authority")]
    certificate_revocation_list: Vec<PathBuf>,
    /// Exit with 2 if there are warnings and no errors
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// The server can not be asked, or there is nothing to check.
pub(crate) fn run(args: &CertArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    match &args.command {
        CertCommand::Show { client, json } => show(client, *json, global, out),
        CertCommand::Check(check) => self::check(check, global, out),
    }
}

fn show(client: &ClientArgs, json: bool, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let client = if global.is_configured() {
        Client::of_config(client, &global.load()?)?
    } else {
        Client::new(client, &global.data_dir(), Target::Admin)?
    };
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
        writeln!(
            out,
            "  sent with    {} intermediates",
            text(&pair["intermediates"])
        )?;
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

fn check(args: &CheckArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let findings = match &args.certificate {
        Some(_) if !global.files.is_empty() => {
            bail!("give -c or --certificate: a configuration names its own certificates")
        }
        Some(certificate) => vec![candidate(&given(args, certificate))],
        None => configured(global)?,
    };
    if findings.is_empty() {
        bail!("nothing to check: give --certificate and --key, or -c with a file that has an ssl section");
    }
    for set in &findings {
        set.tell(out)?;
    }
    let has_errors = findings.iter().any(|set| !set.errors.is_empty());
    let has_warnings = findings.iter().any(|set| !set.warnings.is_empty());
    Ok(match (has_errors, has_warnings) {
        (true, _) => Exit::Failure,
        (false, true) if args.strict => Exit::Warnings,
        (false, _) => Exit::Success,
    })
}

/// What is to be said about one set.
struct Checked {
    name: &'static str,
    /// The default leaf, if the set can be served.
    fingerprint: Option<String>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

struct Finding {
    message: String,
    hint: String,
}

/// Files that shall replace others: what a running server would refuse is an error, too (R19).
fn candidate(settings: &Settings) -> Checked {
    checked("the given files", settings, |warning| {
        matches!(warning, Warning::Expired { .. } | Warning::NotYetValid { .. })
    })
}

/// What the next start would serve. A leaf outside its time is served then, and nobody would call that well (R19).
fn configured(global: &GlobalArgs) -> Result<Vec<Checked>> {
    let plan = crate::planning::plan(&global.load()?)?;
    let agents = plan.agents.tls.map(|tls| ("inputs.0.server.ssl", tls));
    let admin = plan
        .admin
        .and_then(|admin| admin.tls)
        .map(|tls| ("admin.ssl", tls));
    let is_error =
        |warning: &Warning| matches!(warning, Warning::Expired { .. } | Warning::NotYetValid { .. });
    let sets = agents.into_iter().chain(admin);
    Ok(sets.map(|(name, tls)| checked(name, &tls, is_error)).collect())
}

fn given(args: &CheckArgs, certificate: &Path) -> Settings {
    let path = |path: &PathBuf| PemSource::Path(path.clone());
    let mut settings = Settings::single(
        PemSource::Path(certificate.to_owned()),
        args.key.as_ref().map(path),
    );
    settings.client_authorities = args.certificate_authority.iter().map(path).collect();
    settings
        .revocation_lists
        .clone_from(&args.certificate_revocation_list);
    if let Some(pair) = settings.pairs.first_mut() {
        pair.passphrase = args.key_passphrase_path.clone().map(Passphrase::Path);
    }
    settings
}

fn checked(name: &'static str, settings: &Settings, is_error: impl Fn(&Warning) -> bool) -> Checked {
    let (fingerprint, findings) = match Generation::load(settings, SystemTime::now()) {
        Ok(generation) => {
            let warnings = generation.warnings().to_vec();
            let fingerprint = generation.info().fingerprint().to_owned();
            (
                Some(fingerprint),
                Findings {
                    warnings,
                    ..Findings::default()
                },
            )
        }
        Err(rejected) => (None, rejected.findings),
    };
    let (severe, mild): (Vec<_>, Vec<_>) = findings.warnings.into_iter().partition(is_error);
    let of_warning = |warning: &Warning| Finding {
        message: warning.to_string(),
        hint: warning.hint().to_owned(),
    };
    let of_error = |error: &LoadError| Finding {
        message: error.to_string(),
        hint: error.hint().into_owned(),
    };
    Checked {
        name,
        fingerprint,
        errors: findings
            .errors
            .iter()
            .map(of_error)
            .chain(severe.iter().map(of_warning))
            .collect(),
        warnings: mild.iter().map(of_warning).collect(),
    }
}

impl Checked {
    fn tell(&self, out: &mut dyn Write) -> Result<()> {
        let name = self.name;
        match &self.fingerprint {
            Some(fingerprint) if self.errors.is_empty() => {
                writeln!(out, "{name}: can be served, fingerprint {fingerprint}")?;
            }
            Some(fingerprint) => writeln!(out, "{name}: should not be served, fingerprint {fingerprint}")?,
            None => writeln!(out, "{name}: can not be served")?,
        }
        let errors = self.errors.iter().map(|finding| ("error", finding));
        let warnings = self.warnings.iter().map(|finding| ("warning", finding));
        for (severity, Finding { message, hint }) in errors.chain(warnings) {
            writeln!(out, "  {severity}: {message}\n    hint: {hint}")?;
        }
        Ok(())
    }
}
