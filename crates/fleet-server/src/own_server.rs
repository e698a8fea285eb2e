//! The address of the server that a configuration describes, and how a client on the same host verifies it.
//!
//! Its certificate seldom names `localhost`. So the client connects to the admin listener's address, but asks for a
//! name that the configured certificate has, and trusts its issuer: `ca.crt` beside it, else its own chain.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use configuration::Config;
use hyper::Uri;
use rustls::pki_types::CertificateDer;
use tls_reload::{PemSource, Settings};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{pem_file, planning, server::reachable};

/// A server as its configuration describes it.
#[derive(Debug)]
pub(crate) struct OwnServer {
    /// The admin API; its host is a name of the certificate.
    pub url: String,
    /// Socket addresses of the admin listener.
    pub addresses: Vec<SocketAddr>,
    /// Who may have signed the certificate; empty without TLS.
    pub authorities: Vec<CertificateDer<'static>>,
    /// File of the admin API key.
    pub api_key_path: PathBuf,
}

impl OwnServer {
    /// Reads it from a configuration. `ca` is the CA that the operator named, if any.
    ///
    /// Works also when the files on the disk cannot be served, which is when the command is needed: the server then shows
    /// the certificate that it served before.
    ///
    /// # Errors
    /// The admin API is off or has no fixed port, or nothing says whom to trust.
    pub(crate) fn of(config: &Config, ca: Option<&Path>) -> Result<Self> {
        let plan = planning::plan(config)?;
        let Some(admin) = plan.admin else {
            bail!("the admin API is off in this configuration (admin.enabled: false)");
        };
        if admin.port == 0 {
            bail!("the configuration leaves the admin API's port open (admin.port: 0): give --url");
        }
        let host = reachable(&admin.host);
        let addresses: Vec<_> = (host.trim_matches(['[', ']']), admin.port)
            .to_socket_addrs()
            .with_context(|| format!("admin.host {host} cannot be resolved"))?
            .collect();
        let (scheme, name, authorities) = match admin.tls.or(plan.agents.tls) {
            None => ("http", host, Vec::new()),
            Some(settings) => {
                let certificate = file(&settings);
                // An unreadable certificate is not an error here: the server's answer reports it.
                let chain = certificate
                    .and_then(|path| pem_file::certificates("certificate", path).ok())
                    .unwrap_or_default();
                let hosts = &config.bootstrap.fleet_hosts;
                let name = chain
                    .first()
                    .and_then(name_in)
                    .or_else(|| hosts.iter().find_map(|host| host_of(host)))
                    .unwrap_or(host);
                let authorities = match ca {
                    Some(ca) => pem_file::certificates("CA", ca)?,
                    None => beside(certificate, chain)?,
                };
                ("https", name, authorities)
            }
        };
        Ok(Self {
            url: format!("{scheme}://{name}:{}", admin.port),
            addresses,
            authorities,
            api_key_path: plan.bootstrap.admin_key,
        })
    }
}

fn file(settings: &Settings) -> Option<&Path> {
    match &settings.pairs.first()?.certificate {
        PemSource::Path(path) => Some(path),
        PemSource::Inline(_) => None,
    }
}

/// The CA to trust when none was named: `ca.crt` beside the certificate. Else its intermediates may vouch for a leaf
/// that they signed, and a self-signed leaf for itself.
fn beside(
    certificate: Option<&Path>,
    chain: Vec<CertificateDer<'static>>,
) -> Result<Vec<CertificateDer<'static>>> {
    let beside = certificate.map(|path| path.with_file_name("ca.crt"));
    let mut authorities = match beside.filter(|path| path.exists()) {
        Some(path) => pem_file::certificates("CA", &path)?,
        None => Vec::new(),
    };
    authorities.extend(chain);
    if authorities.is_empty() {
        bail!("the configured certificate cannot be read and there is no ca.crt beside it: give --ca");
    }
    Ok(authorities)
}

/// The host in a URL.
fn host_of(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    url.host().map(str::to_owned)
}

/// A host name or address that the certificate is good for.
fn name_in(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        // A wildcard stands for any one label.
        GeneralName::DNSName(name) => Some(name.replacen('*', "server", 1)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => {
                let address = std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?);
                Some(format!("[{address}]"))
            }
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        rcgen::generate_simple_self_signed(names)
            .unwrap()
            .cert
            .der()
            .clone()
    }

    #[test]
    fn a_name_to_ask_for_is_the_certificates() {
        assert_eq!(name_in(&leaf(&["fleet.example", "b"])).unwrap(), "fleet.example");
        assert_eq!(
            name_in(&leaf(&["*.fleet.example"])).unwrap(),
            "server.fleet.example"
        );
        assert_eq!(name_in(&leaf(&["192.0.2.1"])).unwrap(), "192.0.2.1");
        assert_eq!(name_in(&leaf(&["2001:db8::1"])).unwrap(), "[2001:db8::1]");
        assert_eq!(name_in(&leaf(&[])), None);
    }
}
