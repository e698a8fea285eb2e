//! How the client sub-commands reach a server: its URL, the trusted CA, the API key.
//!
//! What is not given on the command line is taken from `DATA/quickstart.json`.

mod connection;
mod served_leaf;

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use configuration::Config;
use fleet_cli::{ConnectionArgs, Fault, Unreachable};
use hyper::Method;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

pub(crate) use self::connection::Answer;
use self::connection::{Download, Identity, Peer, Trust};
use crate::{
    cli::GlobalArgs, lifecycle::block_on, own_server::OwnServer, pem_file, private_file,
    quickstart_facts::QuickstartFacts,
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
#[expect(missing_docs, reason = "the names say it")]
pub enum Target {
    Agents,
    Admin,
}

/// A server to ask.
pub struct Client {
    peer: Peer,
    api_key: Option<String>,
}

impl Client {
    /// Puts the options and `DATA/quickstart.json` together.
    ///
    /// # Errors
    /// No URL is known, or a file that was named cannot be used.
    pub fn new(args: &ClientArgs, data: &Path, target: Target) -> Result<Self> {
        let (url, facts) = address(args, data, target)?;
        let ca = args
            .ca
            .clone()
            .or_else(|| facts.as_ref()?.ca_file.as_deref().map(PathBuf::from));
        let trust = match ca {
            Some(path) => Trust::Signed(authorities(&path)?),
            None if url.starts_with("https:") => {
                bail!(
                    "no trusted CA is known: give --ca with the certificate of the CA that signed the server's"
                );
            }
            None => Trust::Signed(Vec::new()),
        };
        let api_key = match &args.api_key_path {
            Some(path) => Some(api_key(path)?),
            None => facts.and_then(|facts| facts.admin_api_key),
        };
        Ok(Self::with(url, None, api_key, trust, identity(args)?))
    }

    /// The admin API of a server on this host whose configuration is given; options win over what it says.
    ///
    /// # Errors
    /// The configuration has no admin API, or a file that it or an option names cannot be used.
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
        let key = api_key(args.api_key_path.as_ref().unwrap_or(&own.api_key_path))?;
        Ok(Self::with(
            own.url,
            Some(own.addresses),
            Some(key),
            Trust::Signed(own.authorities),
            identity,
        ))
    }

    /// The admin API of the server that quickstart has started in `data`; `None` if it has started none there, or an
    /// option says which server it is.
    ///
    /// # Errors
    /// What quickstart has written, or a file that an option names, cannot be used.
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

    /// Like [`Client::new`], but accepts any certificate, and therefore never sends a key.
    pub fn unverified(args: &ClientArgs, data: &Path, target: Target) -> Result<Self> {
        let (url, _) = address(args, data, target)?;
        Ok(Self::with(url, None, None, Trust::Anyone, identity(args)?))
    }

    fn with(
        url: String,
        addresses: Option<Vec<SocketAddr>>,
        api_key: Option<String>,
        trust: Trust,
        identity: Option<Identity>,
    ) -> Self {
        let peer = Peer {
            url,
            addresses,
            trust,
            identity,
        };
        Self { peer, api_key }
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.peer.url
    }

    /// The admin API of the server that a command is about: the one that quickstart started in the data directory, unless
    /// a configuration is given.
    ///
    /// # Errors
    /// Nothing says where it is, or a file that says so cannot be used.
    pub(crate) fn of_connection(args: &ConnectionArgs, global: &GlobalArgs) -> Result<Self> {
        let profile = args.profile(std::env::var("FLEET_ADMIN_KEY").ok())?;
        let key = profile.api_key;
        let args = ClientArgs {
            url: profile.url,
            api_key_path: profile.api_key_path,
            ca: profile.ca,
            client_certificate: profile.client_certificate,
            client_key: profile.client_key,
        };
        if args.client_certificate.is_some() != args.client_key.is_some() {
            return Err(Fault::Usage("give --client-certificate and --client-key together".into()).into());
        }
        let mut client =
            Self::of_operator(&args, global).map_err(|error| Fault::Usage(format!("{error:#}")))?;
        client.api_key = key.or(client.api_key);
        if client.api_key.is_none() {
            let url = client.url();
            let sentence =
                format!("no key for {url} is known: give --api-key-path, --profile or FLEET_ADMIN_KEY");
            return Err(Fault::Usage(sentence).into());
        }
        Ok(client)
    }

    /// The same for options that name no profile.
    fn of_operator(args: &ClientArgs, global: &GlobalArgs) -> Result<Self> {
        if !global.is_configured() {
            return Self::new(args, &global.data_dir(), Target::Admin);
        }
        Self::of_config(args, &global.load()?)
    }

    /// `GET path`; any status is an answer. The key goes along only if `with_key`.
    ///
    /// # Errors
    /// The server cannot be reached, or its certificate is not trusted.
    pub(crate) fn get(&self, path: &str, with_key: bool) -> Result<Answer> {
        let key = self.api_key.as_deref().filter(|_| with_key);
        block_on(self.peer.get(path, key))
    }
}

impl fleet_cli::Server for Client {
    fn url(&self) -> &str {
        &self.peer.url
    }

    fn call(
        &self,
        method: fleet_cli::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<fleet_cli::Answer, Unreachable> {
        let method = match method {
            fleet_cli::Method::Get => Method::GET,
            fleet_cli::Method::Post => Method::POST,
            fleet_cli::Method::Put => Method::PUT,
            fleet_cli::Method::Delete => Method::DELETE,
        };
        let answer = block_on(self.peer.call(method, path, self.api_key.as_deref(), body));
        let Answer { status, body, .. } = answer.map_err(|error| Unreachable(format!("{error:#}")))?;
        Ok(fleet_cli::Answer { status, body })
    }

    fn download(
        &self,
        path: &str,
        into: &mut dyn Write,
    ) -> Result<Result<u64, fleet_cli::Answer>, Unreachable> {
        let download = block_on(self.peer.download(path, self.api_key.as_deref(), into));
        match download.map_err(|error| Unreachable(format!("{error:#}")))? {
            Download::Done { bytes } => Ok(Ok(bytes)),
            Download::Refused { status, body } => Ok(Err(fleet_cli::Answer { status, body })),
        }
    }
}

/// The server's URL without a final slash, and the facts that quickstart wrote about it.
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
            "no server is named: give --url, or --data-dir of a server started by quickstart ({} does not name one)",
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

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    pem_file::certificates("CA", path).context("the CA cannot be used")
}

/// The client certificate, if one was given.
fn identity(args: &ClientArgs) -> Result<Option<Identity>> {
    let (Some(certificate), Some(key)) = (&args.client_certificate, &args.client_key) else {
        return Ok(None);
    };
    Ok(Some(Identity {
        chain: pem_file::certificates("client certificate", certificate)?,
        key: pem_file::private_key(key)?,
    }))
}
