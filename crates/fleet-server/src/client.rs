//! How the client sub-commands reach a server: where it is, whom to trust, which key to show.
//!
//! What is not given on the command line is taken from `DATA/quickstart.json`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use configuration::Config;
use rustls::{
    CertificateError, InvalidMessage, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use ureq::{
    Agent,
    http::{Response, Uri},
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider},
    unversioned::transport::DefaultConnector,
};

use crate::{
    own_server::{Fixed, OwnServer},
    pem_file, private_file,
    quickstart_facts::QuickstartFacts,
    served_leaf::ServedLeaf,
};

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
    trust: Trust,
    identity: Option<Identity>,
}

/// What the client shows of itself.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Whose certificates are taken.
enum Trust {
    /// Those that these signed.
    Signed(Vec<CertificateDer<'static>>),
    /// Anybody's.
    Anyone,
    /// There is no TLS.
    Plain,
}

impl Client {
    /// Puts the options and `DATA/quickstart.json` together.
    ///
    /// # Errors
    /// No URL is known, or a file that was named can not be used.
    pub fn new(args: &ClientArgs, data: &Path, target: Target) -> Result<Self> {
        let (url, facts) = address(args, data, target)?;
        let ca = args
            .ca
            .clone()
            .or_else(|| facts.as_ref()?.ca_file.as_deref().map(PathBuf::from));
        let trust = match ca {
            Some(path) => Trust::Signed(authorities(&path)?),
            None if url.starts_with("https:") => {
                bail!("whom to trust? give --ca with the certificate of the CA that signed the server's");
            }
            None => Trust::Plain,
        };
        let api_key = match &args.api_key_path {
            Some(path) => Some(api_key(path)?),
            None => facts.and_then(|facts| facts.admin_api_key),
        };
        Self::with(url, None, api_key, trust, identity(args)?)
    }

    /// The admin API of a server on this host whose configuration is given; options win over what it says.
    ///
    /// # Errors
    /// The configuration has no admin API, or a file that it or an option names can not be used.
    pub fn of_config(args: &ClientArgs, config: &Config) -> Result<Self> {
        let identity = identity(args)?;
        if args.url.is_some() {
            let args = ClientArgs {
                api_key_path: Some(
                    args.api_key_path
                        .clone()
                        .unwrap_or_else(|| config.admin_key_path()),
                ),
                ..args.clone()
            };
            return Self::new(&args, &config.path.data, Target::Admin);
        }
        let own = OwnServer::of(config, args.ca.as_deref())?;
        let trust = if own.authorities.is_empty() {
            Trust::Plain
        } else {
            Trust::Signed(own.authorities)
        };
        let key = api_key(args.api_key_path.as_ref().unwrap_or(&own.api_key_path))?;
        Self::with(own.url, Some(own.addresses), Some(key), trust, identity)
    }

    /// The admin API of the server that quickstart has started in `data`; `None` if it has started none there, or an
    /// option says which server it is.
    ///
    /// # Errors
    /// What quickstart has written, or a file that an option names, can not be used.
    pub(crate) fn of_quickstart(args: &ClientArgs, data: &Path) -> Result<Option<Self>> {
        if args.url.is_some() {
            return Ok(None);
        }
        let path = data.join("quickstart.json");
        let facts =
            QuickstartFacts::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match facts.and_then(|facts| facts.admin_url) {
            Some(_) => Self::new(args, data, Target::Admin).map(Some),
            None => Ok(None),
        }
    }

    /// Like [`Client::new`], but trusts whoever answers; therefore it knows no key.
    ///
    /// # Errors
    /// No URL is known.
    pub fn unverified(args: &ClientArgs, data: &Path, target: Target) -> Result<Self> {
        let (url, _) = address(args, data, target)?;
        Self::with(url, None, None, Trust::Anyone, identity(args)?)
    }

    fn with(
        url: String,
        addresses: Option<Vec<SocketAddr>>,
        api_key: Option<String>,
        trust: Trust,
        identity: Option<Identity>,
    ) -> Result<Self> {
        Ok(Self {
            agent: agent(addresses, &trust, identity.as_ref())?,
            url,
            api_key,
            trust,
            identity,
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
        let response = request.call().map_err(|error| {
            let remedy = match cause(&error) {
                Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                    Some(UNKNOWN_ISSUER.to_owned())
                }
                Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                    Some("the port does not speak TLS: give --url with http://".to_owned())
                }
                _ => self.of_tls_port(&error),
            };
            let mut error = anyhow::Error::from(error);
            if let Some(remedy) = remedy {
                error = error.context(remedy);
            }
            error.context(format!("cannot reach {}", self.url))
        })?;
        answer(response)
    }

    /// What to say if plain text was spoken to a port that has TLS.
    fn of_tls_port(&self, error: &ureq::Error) -> Option<String> {
        if !matches!(self.trust, Trust::Plain) || matches!(error, ureq::Error::HostNotFound) {
            return None;
        }
        let url: Uri = self.url.parse().ok()?;
        let (host, port) = (url.host()?, url.port_u16()?);
        // Nothing is judged and nothing is said: only whether it shakes hands.
        let leaf = ServedLeaf::ask(bare(host), port, None, self.identity.as_ref(), PROBE).ok()?;
        Some(format!(
            "the port speaks TLS ({leaf}), and was spoken to in plain text: give --url https://{host}:{port} and --ca"
        ))
    }

    /// The certificate that the server shows, or `None` if it speaks plain HTTP.
    ///
    /// # Errors
    /// The server can not be reached, or its certificate is not trusted.
    pub fn served_leaf(&self) -> Result<Option<ServedLeaf>> {
        let url: Uri = self.url.parse().context("the URL can not be read")?;
        if url.scheme_str() != Some("https") {
            return Ok(None);
        }
        let host = bare(url.host().unwrap_or_default());
        let mut roots = RootCertStore::empty();
        let roots = match &self.trust {
            Trust::Signed(authorities) => {
                roots.add_parsable_certificates(authorities.iter().cloned());
                Some(roots)
            }
            Trust::Plain => Some(roots),
            Trust::Anyone => None,
        };
        let port = url.port_u16().unwrap_or(443);
        ServedLeaf::ask(host, port, roots, self.identity.as_ref(), TIMEOUT).map(Some)
    }
}

/// The server's URL without a final slash, and what quickstart has written of it.
fn address(args: &ClientArgs, data: &Path, target: Target) -> Result<(String, Option<QuickstartFacts>)> {
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
    Ok((url.trim_end_matches('/').to_owned(), facts))
}

fn api_key(path: &Path) -> Result<String> {
    private_file::read_text(path, 4096)
        .and_then(|text| text.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .with_context(|| format!("cannot read the API key in {}", path.display()))
}

/// What TLS has against the server.
fn cause(error: &ureq::Error) -> Option<&rustls::Error> {
    let ureq::Error::Io(error) = error else {
        return None;
    };
    error.get_ref().and_then(|cause| cause.downcast_ref())
}

/// An IPv6 address has brackets in a URL only.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
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

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    pem_file::certificates("CA", path).context("the CA cannot be used")
}

/// What the client shows of itself, if it was told to.
fn identity(args: &ClientArgs) -> Result<Option<Identity>> {
    let (Some(certificate), Some(key)) = (&args.client_certificate, &args.client_key) else {
        return Ok(None);
    };
    Ok(Some(Identity {
        chain: pem_file::certificates("client certificate", certificate)?,
        key: pem_file::private_key(key)?,
    }))
}

fn agent(addresses: Option<Vec<SocketAddr>>, trust: &Trust, identity: Option<&Identity>) -> Result<Agent> {
    let of_ureq = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
    let identity = match identity {
        Some(identity) => {
            let chain: Vec<_> = identity.chain.iter().map(of_ureq).collect();
            // ureq has a way in for DER, and none to say of which kind it is.
            let key = PrivateKey::from_pem(pem_file::of_private_key(&identity.key).as_bytes())?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
        None => None,
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let tls = match trust {
        Trust::Signed(authorities) => {
            let roots = authorities.iter().map(of_ureq).collect();
            tls.root_certs(RootCerts::Specific(Arc::new(roots)))
        }
        Trust::Anyone => tls.disable_verification(true),
        Trust::Plain => tls,
    };
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .build();
    Ok(match addresses {
        Some(addresses) => Agent::with_parts(config, DefaultConnector::default(), Fixed(addresses)),
        None => config.into(),
    })
}

const UNKNOWN_ISSUER: &str = "nothing here vouches for the server's certificate: give --ca with the certificate of the CA that signed it";

/// For one look at a port on top of an error.
const PROBE: Duration = Duration::from_secs(5);
/// A server on the way down still answers; one that does not within this time is ill.
const TIMEOUT: Duration = Duration::from_secs(15);
