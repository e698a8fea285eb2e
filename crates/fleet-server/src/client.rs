//! How the client sub-commands reach a server: where it is, whom to trust, which key to show.
//!
//! What is not given on the command line is taken from `DATA/quickstart.json`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use ureq::{
    Agent,
    http::Response,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider},
};
use zeroize::Zeroizing;

use crate::{private_file, quickstart_facts::QuickstartFacts};

/// Options of every client sub-command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClientArgs {
    /// URL of the server [default: from DATA/quickstart.json]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File that holds the admin API key [default: from DATA/quickstart.json]
    #[arg(long, value_name = "FILE")]
    pub api_key_path: Option<PathBuf>,
    /// CA certificate that signed the server's [default: from DATA/quickstart.json]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate to show to a server that asks for one (`client_authentication`)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

/// Which of a server's listeners a command talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The agents' API.
    Agents,
    /// The admin API.
    Admin,
}

/// A server to ask.
pub struct Client {
    agent: Agent,
    url: String,
    api_key: Option<String>,
}

impl Client {
    /// Puts the options and `DATA/quickstart.json` together.
    ///
    /// # Errors
    /// No URL is known, or a file that was named can not be used.
    pub fn new(args: &ClientArgs, data: &Path, target: Target) -> Result<Self> {
        let facts_path = data.join("quickstart.json");
        let facts = QuickstartFacts::read(&facts_path)
            .with_context(|| format!("cannot read {}", facts_path.display()))?;
        let known_url = facts.as_ref().and_then(|facts| match target {
            Target::Agents => Some(facts.url.clone()),
            Target::Admin => facts.admin_url.clone(),
        });
        let Some(url) = args.url.clone().or(known_url) else {
            bail!(
                "which server? give --url, or --data-dir of a server started by quickstart ({} does not name one)",
                facts_path.display()
            );
        };
        let ca = args
            .ca
            .clone()
            .or_else(|| facts.as_ref()?.ca_file.as_deref().map(PathBuf::from));
        let api_key = match &args.api_key_path {
            Some(path) => Some(
                private_file::read_text(path, 4096)
                    .and_then(|text| text.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
                    .with_context(|| format!("cannot read the API key in {}", path.display()))?,
            ),
            None => facts.and_then(|facts| facts.admin_api_key),
        };
        Ok(Self {
            agent: agent(ca.as_deref(), identity(args)?, &url)?,
            url: url.trim_end_matches('/').to_owned(),
            api_key,
        })
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `GET path`; any status is an answer. The key goes along only if `with_key`.
    ///
    /// # Errors
    /// The server can not be reached, or its certificate is not trusted.
    pub fn get(&self, path: &str, with_key: bool) -> Result<(u16, String)> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = self.api_key.as_ref().filter(|_| with_key) {
            request = request.header("Authorization", format!("ApiKey {key}"));
        }
        let response = request
            .call()
            .with_context(|| format!("cannot reach {}", self.url))?;
        answer(response)
    }
}

fn answer(response: Response<ureq::Body>) -> Result<(u16, String)> {
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .into_with_config()
        .limit(4 * 1024 * 1024)
        .read_to_string()?;
    Ok((status, body))
}

/// What the client shows of itself, if it was told to.
fn identity(args: &ClientArgs) -> Result<Option<ClientCert>> {
    let (Some(certificate), Some(key)) = (&args.client_certificate, &args.client_key) else {
        return Ok(None);
    };
    let chain = certificates(certificate)?;
    let pem = fs::read(key)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read the key in {}", key.display()))?;
    let key = PrivateKey::from_pem(&pem).with_context(|| format!("{} is not a PEM key", key.display()))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .map(|der| der.map(|der| Certificate::from_der(&der).to_owned()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{} is not a PEM certificate", path.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(chain)
}

fn agent(ca: Option<&Path>, identity: Option<ClientCert>, url: &str) -> Result<Agent> {
    let mut tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    match ca {
        Some(path) => {
            let roots = certificates(path).context("the CA can not be used")?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        None if url.starts_with("https:") => {
            bail!("whom to trust? give --ca with the certificate of the CA that signed the server's");
        }
        None => {}
    }
    Ok(Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(Duration::from_secs(15)))
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .build()
        .into())
}
