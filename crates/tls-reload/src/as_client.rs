//! A client's verdict on a certificate: rustls' own verifier, with the roots that the client trusts.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{CertificateError, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use crate::certificate::Facts;
use crate::moment::{from_unix_seconds, rfc3339};

/// A client with its trusted CAs.
#[derive(Debug)]
pub struct AsClient {
    verifier: Arc<WebPkiServerVerifier>,
}

/// Why a client refuses a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum ClientRefusal {
    #[error("`{0}` is neither a host name nor an IP address")]
    BadName(String),
    #[error("the certificate is not for {name}: it is for {}", .names.join(", "))]
    OtherName {
        name: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
    #[error(
        "no CA that the client trusts has issued it: the chain ends with `{subject}`, issued by `{issuer}`"
    )]
    UnknownIssuer {
        /// Subject of the last certificate.
        subject: String,
        /// The CA that would have to be trusted.
        issuer: String,
    },
    #[error("a certificate of the chain expired at {}", rfc3339(*.0))]
    Expired(SystemTime),
    #[error("a certificate of the chain is not valid before {}", rfc3339(*.0))]
    NotYetValid(SystemTime),
    #[error("a CA of the chain may not issue for the certificate's names (name constraints)")]
    NameConstraints,
    #[error("{0}")]
    Other(String),
}

impl ClientRefusal {
    /// The remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadName(_) => {
                "give the host name or the address that clients connect to, without scheme and port"
            }
            Self::OtherName { .. } => "issue the certificate with that name, or connect by one of its names",
            Self::UnknownIssuer { .. } => {
                "give clients the CA of that name, or append the issuer's certificate to the chain"
            }
            Self::Expired(_) => "renew that certificate",
            Self::NotYetValid(_) => "check the clock, or wait until then",
            Self::NameConstraints => "have the certificate issued by a CA that may issue for its names",
            Self::Other(_) => "see the warnings about the chain, and openssl verify -show_chain",
        }
    }
}

impl AsClient {
    /// # Errors
    /// There is no certificate, or one that cannot be a trust anchor: the reason.
    pub fn trusting(authorities: &[CertificateDer<'_>]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone().into_owned())
                .map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map(|verifier| Self { verifier })
            .map_err(|error| error.to_string())
    }

    /// Whether a client can ask for `name` at all.
    pub(crate) fn can_ask_for(name: &str) -> bool {
        ServerName::try_from(name).is_ok()
    }

    /// This client's verdict on a server that sends `leaf` and `others`, when it asks for `name`.
    pub fn ask(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &str,
        now: SystemTime,
    ) -> Result<(), ClientRefusal> {
        let Ok(wanted) = ServerName::try_from(name) else {
            return Err(ClientRefusal::BadName(name.to_owned()));
        };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.verifier
            .verify_server_cert(leaf, others, &wanted, &[], UnixTime::since_unix_epoch(now))
            .map(|_verified| ())
            .map_err(|error| refusal(&error, leaf, others, name))
    }
}

fn refusal(
    error: &rustls::Error,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    name: &str,
) -> ClientRefusal {
    let facts = |der: &CertificateDer<'_>| Facts::parse(der).ok();
    let moment = |at: &UnixTime| from_unix_seconds(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
    let rustls::Error::InvalidCertificate(error) = error else {
        return ClientRefusal::Other(error.to_string());
    };
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ClientRefusal::OtherName {
                name: name.to_owned(),
                names: facts(leaf).map(|facts| facts.info.names).unwrap_or_default(),
            }
        }
        CertificateError::UnknownIssuer => {
            let Some(mut last) = facts(leaf) else {
                return ClientRefusal::Other(error.to_string());
            };
            let mut others: Vec<Facts> = others.iter().filter_map(facts).collect();
            while let Some(next) = others.iter().position(|other| other.subject == last.issuer) {
                last = others.swap_remove(next);
            }
            ClientRefusal::UnknownIssuer {
                subject: last.info.subject,
                issuer: last.issuer_name,
            }
        }
        CertificateError::ExpiredContext { not_after, .. } => ClientRefusal::Expired(moment(not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            ClientRefusal::NotYetValid(moment(not_before))
        }
        // The verifier's own kinds of errors, which rustls passes on unopened.
        CertificateError::Other(OtherError(inner)) if inner.to_string() == "NameConstraintViolation" => {
            ClientRefusal::NameConstraints
        }
        CertificateError::Other(OtherError(inner)) => ClientRefusal::Other(inner.to_string()),
        other => ClientRefusal::Other(other.to_string()),
    }
}
