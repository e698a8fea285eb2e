//! `fleet-server quickstart`: `run` with certificates of its own, and printed help for the first ten minutes.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use configuration::{Config, Overlay, PathOrPem};
use sha2::{Digest as _, Sha256};

use tls_reload::{ClientAuth, PemSource};

use super::{
    Exit, GlobalArgs,
    run::{begin_log, log_end},
};
use crate::{
    data_directory,
    lifecycle::{self, Beginning},
    local_ca::LocalCa,
    pem_file, planning,
    quickstart_facts::QuickstartFacts,
    server::{self, Running},
};

/// Serves until a signal ends it; once it listens, writes `quickstart.json` and prints the help to `out`.
///
/// # Errors
/// The configuration is wrong, the server could not start, or did not stop in good order.
pub(crate) fn run(global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    lifecycle::process(async |beginning| Box::pin(begin(global, beginning, out)).await)
}

async fn begin(global: &GlobalArgs, beginning: &mut Beginning, out: &mut dyn Write) -> Result<Exit> {
    // The data directory decides where the certificates are, and a file may decide where that is.
    let guess = LocalCa::under(&global.data_dir());
    let (first, _) = global.load_with(global.files.clone(), below(Some(&guess)))?;
    let ca = LocalCa::under(&absolute(&first.path.data)?);
    // Certificate and key are one choice: a key beside a certificate of somebody else never fits.
    let own = is_untouched(&first, &guess).then_some(&ca);
    let (config, notices) = global.load_with(global.files.clone(), below(own))?;
    let logs = begin_log(&config, &notices)?;
    let outcome = Box::pin(serve(&config, &ca, beginning, out)).await;
    if !logs.is_stderr() {
        // Otherwise `main` prints the error on the same terminal.
        log_end(&outcome);
    }
    logs.close();
    outcome.map(|()| Exit::Success)
}

/// Defaults of quickstart, below every file and flag.
fn below(ca: Option<&LocalCa>) -> Overlay {
    let path = |path: &Path| path.display().to_string();
    let overlay = Overlay::new("quickstart")
        .set("http.enabled", "true")
        .set("logging.to_stderr", "true");
    match ca {
        Some(ca) => overlay
            .set("inputs.0.server.ssl.certificate", path(&ca.certificate))
            .set("inputs.0.server.ssl.key", path(&ca.key)),
        None => overlay,
    }
}

/// Whether neither a file nor a flag names a certificate or a key.
fn is_untouched(config: &Config, ca: &LocalCa) -> bool {
    let is = |value: &Option<PathOrPem>, path: &Path| matches!(value, Some(PathOrPem::Path(chosen)) if chosen == path);
    let ssl = config.server().ssl.as_ref();
    ssl.is_some_and(|ssl| is(&ssl.certificate, &ca.certificate) && is(&ssl.key, &ca.key))
}

async fn serve(config: &Config, ca: &LocalCa, beginning: &mut Beginning, out: &mut dyn Write) -> Result<()> {
    let plan = planning::plan(config)?;
    data_directory::ensure(&plan.data)?;
    QuickstartFacts::read(&plan.data.join("quickstart.json"))?;
    let own = PemSource::Path(ca.certificate.clone());
    if plan
        .agents
        .tls
        .as_ref()
        .is_some_and(|tls| tls.pairs.first().is_some_and(|pair| pair.certificate == own))
    {
        ca.ensure(&server::host_name(), time::OffsetDateTime::now_utc())?;
    }
    let data = absolute(&plan.data)?;
    lifecycle::run(plan, beginning, |running, is_successor| {
        let facts = facts(&data, running)?;
        let path = data.join("quickstart.json");
        facts
            .write(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if is_successor {
            // The help was already printed on the terminal.
            return Ok(());
        }
        writeln!(out, "{facts}")?;
        Ok(out.flush()?)
    })
    .await
}

fn facts(data: &Path, running: &Running) -> Result<QuickstartFacts> {
    let state = running.tls().agents().map(|handle| handle.state());
    let pair = state.as_ref().and_then(|state| state.generation.pairs.first());
    let file = |shown: &str| {
        Path::new(shown)
            .exists()
            .then(|| absolute(Path::new(shown)))
            .transpose()
    };
    let certificate = pair
        .map(|pair| file(&pair.certificate_file))
        .transpose()?
        .flatten();
    let key = pair.map(|pair| file(&pair.key_file)).transpose()?.flatten();
    let own = LocalCa::under(data);
    let (ca_file, ca_sha256) = match certificate.as_deref() {
        Some(served) => authority(&own, served)?,
        None => (None, None),
    };
    let text = |path: PathBuf| path.display().to_string();
    let enrollment = running.secrets.enrollment.as_ref();
    Ok(QuickstartFacts {
        url: running.addresses.url.clone(),
        internal_url: running.addresses.internal_url.clone(),
        admin_url: running.addresses.admin_url.clone(),
        http_url: running.addresses.http_url.clone(),
        ca_file: ca_file.map(text),
        ca_sha256,
        certificate_days_left: certificate
            .as_ref()
            .filter(|served| **served == own.certificate)
            .and_then(|_| own.days_left_of_operators(time::OffsetDateTime::now_utc()))
            .filter(|days| *days < 30),
        certificate: certificate.map(text),
        key: key.map(text),
        needs_client_certificate: state
            .as_ref()
            .is_some_and(|state| state.generation.client_authentication == ClientAuth::Required),
        policy_id: enrollment.map(|(policy, _)| policy.clone()),
        enrollment_token: enrollment.map(|(_, token)| token.to_token()),
        admin_api_key: Some(running.secrets.admin_key.to_token()),
    })
}

/// The CA that agents have to trust: quickstart's own, or the last certificate of a chain that brings it along.
fn authority(own: &LocalCa, served: &Path) -> Result<(Option<PathBuf>, Option<String>)> {
    let file =
        if served == own.certificate && own.has_issued(&pem_file::certificates("certificate", served)?)? {
            own.ca_file.clone()
        } else {
            served.to_owned()
        };
    let chain = pem_file::certificates("CA", &file)?;
    let Some(last) = chain.last() else {
        return Ok((None, None));
    };
    let is_authority = x509_parser::parse_x509_certificate(last).is_ok_and(|(_, last)| last.is_ca());
    if !is_authority {
        return Ok((None, None));
    }
    let digest = Sha256::digest(last);
    let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((Some(file), Some(hex)))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))
}
