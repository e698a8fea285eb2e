//! `cert check`: whether files could be served, by the server's own validation, and what a client would say of them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Result, anyhow, bail};
use tls_reload::{AsClient, Findings, Generation, LoadError, Passphrase, PemSource, Settings, Warning};

use crate::{
    cli::{Exit, GlobalArgs},
    pem_file,
};

/// What to check: a pair, or the sets of a configuration.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckArgs {
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
    /// Also judge as a client that connects: it trusts --ca and asks for --name (with -c: of the agents' listener)
    #[arg(long, requires_all = ["ca", "name"])]
    as_client: bool,
    /// CA that the client trusts
    #[arg(long, value_name = "FILE", requires = "as_client")]
    ca: Option<PathBuf>,
    /// Host name or IP address that the client connects to; may be repeated
    #[arg(long, value_name = "NAME", requires = "as_client")]
    name: Vec<String>,
    /// Exit with 2 if there are warnings and no errors
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(args: &CheckArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let sets = match &args.certificate {
        Some(_) if !global.files.is_empty() => {
            bail!("give -c or --certificate: a configuration names its own certificates")
        }
        Some(certificate) => vec![("the given files", given(args, certificate))],
        None => configured(global)?,
    };
    if sets.is_empty() {
        bail!("nothing to check: give --certificate and --key, or -c with a file that has an ssl section");
    }
    let client = args.ca.as_deref().map(|ca| client(ca, &args.name)).transpose()?;
    if client.is_some() && sets.iter().all(|(name, _)| *name == ADMIN) {
        bail!("nothing to check as a client: the agents' listener has no TLS");
    }
    let mut findings = Vec::with_capacity(sets.len());
    for (name, settings) in &sets {
        let set = checked(name, settings, client.as_ref().filter(|_| *name != ADMIN));
        set.tell(out)?;
        findings.push(set);
    }
    let has_errors = findings.iter().any(|set| !set.errors.is_empty());
    let has_warnings = findings.iter().any(|set| !set.warnings.is_empty());
    Ok(match (has_errors, has_warnings) {
        (true, _) => Exit::Failure,
        (false, true) if args.strict => Exit::Warnings,
        (false, _) => Exit::Success,
    })
}

/// Findings about one set.
struct Checked {
    name: &'static str,
    /// The default leaf, if the set can be served.
    fingerprint: Option<String>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// One line for each name under which a client accepts it.
    accepted: Vec<String>,
}

struct Finding {
    message: String,
    hint: String,
}

/// What the next start would serve.
fn configured(global: &GlobalArgs) -> Result<Vec<(&'static str, Settings)>> {
    let plan = crate::planning::plan(&global.load()?)?;
    let agents = plan.agents.tls.map(|tls| (AGENTS, tls));
    let admin = plan.admin.and_then(|admin| admin.tls).map(|tls| (ADMIN, tls));
    Ok(agents.into_iter().chain(admin).collect())
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

/// The client that `--as-client` describes.
struct Client<'a> {
    ca: &'a Path,
    verifier: AsClient,
    names: &'a [String],
}

fn client<'a>(ca: &'a Path, names: &'a [String]) -> Result<Client<'a>> {
    let authorities = pem_file::certificates("CA", ca)?;
    let verifier = AsClient::trusting(&authorities)
        .map_err(|reason| anyhow!("no client can trust {}: {reason}", ca.display()))?;
    Ok(Client { ca, verifier, names })
}

fn checked(name: &'static str, settings: &Settings, client: Option<&Client<'_>>) -> Checked {
    let now = SystemTime::now();
    let loaded = Generation::load(settings, now);
    let (fingerprint, findings) = match &loaded {
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
        Err(rejected) => (None, rejected.findings.clone()),
    };
    // A running server refuses a leaf outside its validity period, and a start that serves one logs an error
    // (reload.md 5.3).
    let is_error =
        |warning: &Warning| matches!(warning, Warning::Expired { .. } | Warning::NotYetValid { .. });
    let (severe, mild): (Vec<_>, Vec<_>) = findings.warnings.into_iter().partition(is_error);
    let of_warning = |warning: &Warning| Finding {
        message: warning.to_string(),
        hint: warning.hint().to_owned(),
    };
    let of_error = |error: &LoadError| Finding {
        message: error.to_string(),
        hint: error.hint().into_owned(),
    };
    let errors = findings.errors.iter().map(of_error);
    let mut checked = Checked {
        name,
        fingerprint,
        errors: errors.chain(severe.iter().map(of_warning)).collect(),
        warnings: mild.iter().map(of_warning).collect(),
        accepted: Vec::new(),
    };
    if let (Ok(generation), Some(client)) = (&loaded, client) {
        checked.ask(generation, client, now);
    }
    checked
}

impl Checked {
    fn ask(&mut self, generation: &Generation, client: &Client<'_>, now: SystemTime) {
        for name in client.names {
            let who = format!("a client that trusts {} and asks for {name}", client.ca.display());
            let served = &generation.certificate_for(Some(name)).cert;
            let Some((leaf, others)) = served.split_first() else {
                continue; // no set that loads has such a pair
            };
            match client.verifier.ask(leaf, others, name, now) {
                Ok(()) => self.accepted.push(format!("{who} accepts it")),
                Err(refusal) => self.errors.push(Finding {
                    message: format!("{who} refuses it: {refusal}"),
                    hint: refusal.hint().to_owned(),
                }),
            }
        }
    }

    fn tell(&self, out: &mut dyn Write) -> Result<()> {
        let name = self.name;
        match &self.fingerprint {
            Some(fingerprint) if self.errors.is_empty() => {
                writeln!(out, "{name}: can be served, fingerprint {fingerprint}")?;
            }
            Some(fingerprint) => writeln!(out, "{name}: should not be served, fingerprint {fingerprint}")?,
            None => writeln!(out, "{name}: cannot be served")?,
        }
        let errors = self.errors.iter().map(|finding| ("error", finding));
        let warnings = self.warnings.iter().map(|finding| ("warning", finding));
        for (severity, Finding { message, hint }) in errors.chain(warnings) {
            writeln!(out, "  {severity}: {message}\n    hint: {hint}")?;
        }
        for accepted in &self.accepted {
            writeln!(out, "  {accepted}")?;
        }
        Ok(())
    }
}

const AGENTS: &str = "inputs.0.server.ssl";
const ADMIN: &str = "admin.ssl";
