//! The summary of a server's certificate that `status` prints.

use std::fmt;

use anyhow::Result;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A served certificate. Displays as `certificate sha256=HEX not-after=RFC3339`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedLeaf {
    /// SHA-256 of the DER, lower-case hex.
    pub(crate) sha256: String,
    /// End of its validity.
    pub(crate) not_after: OffsetDateTime,
}

impl ServedLeaf {
    pub(super) fn of(der: &CertificateDer<'_>) -> Result<Self> {
        let (_, certificate) = X509Certificate::from_der(der)?;
        Ok(Self {
            sha256: Sha256::digest(der)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_after: certificate.validity().not_after.to_datetime(),
        })
    }
}

impl fmt::Display for ServedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not_after = self.not_after.format(&Rfc3339).map_err(|_| fmt::Error)?;
        write!(f, "certificate sha256={} not-after={not_after}", self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_scripts_read_it() {
        let leaf = ServedLeaf {
            sha256: "ab".repeat(32),
            not_after: OffsetDateTime::UNIX_EPOCH,
        };
        assert_eq!(
            leaf.to_string(),
            format!(
                "certificate sha256={} not-after=1970-01-01T00:00:00Z",
                "ab".repeat(32)
            )
        );
    }
}
