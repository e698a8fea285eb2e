//! What a new user needs to know of a running server: written to `quickstart.json`, printed once, and read
//! back by the client sub-commands.

use std::{fmt, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::private_file;

/// The contents of `DATA/quickstart.json` (0600).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuickstartFacts {
    /// Agents' URL, with the real port.
    pub url: String,
    pub internal_url: String,
    /// Admin API's URL, unless it is off.
    pub admin_url: Option<String>,
    /// Metrics and probes, unless they are off.
    pub http_url: Option<String>,
    /// CA certificate that agents trust, if it is known (a certificate of the operator's own may come without).
    pub ca_file: Option<String>,
    /// Lower-case hex SHA-256 of the CA's DER: what `ca_trusted_fingerprint` takes.
    pub ca_sha256: Option<String>,
    /// Path of the certificate that is served.
    pub certificate: Option<String>,
    pub key: Option<String>,
    /// Days until a certificate of the operator's in `DATA/certs` ends, if it is in its last 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days_left: Option<i64>,
    /// Agents need a client certificate to connect.
    #[serde(default)]
    pub needs_client_certificate: bool,
    /// The policy that the token enrols into.
    pub policy_id: Option<String>,
    /// Base64 of `id:secret`, as it goes behind `ApiKey ` in a header.
    pub enrollment_token: Option<String>,
    /// Base64 of `id:secret`, as it goes behind `ApiKey ` in a header.
    pub admin_api_key: Option<String>,
}

impl QuickstartFacts {
    /// Reads the file, or `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not what quickstart writes.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(text) = private_file::read_text(path, 64 * 1024)? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let path = path.display();
            io::Error::other(format!(
                "{path} was not written by quickstart ({error}): move it away"
            ))
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written, or another file is there.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        Self::read(path)?;
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        private_file::replace(path, &text)
    }
}

impl fmt::Display for QuickstartFacts {
    /// The help for a new user's first ten minutes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca = self.ca_file.as_deref();
        let trust = ca.map_or(" --insecure".to_owned(), |ca| {
            format!(" --certificate-authorities {}", quoted(ca))
        });
        let cacert = ca.map_or(" --insecure".to_owned(), |ca| format!(" --cacert {}", quoted(ca)));
        writeln!(f, "\nFleet Server is ready.\n")?;
        writeln!(f, "  Agents      {}", self.url)?;
        if let Some(ca) = ca {
            writeln!(f, "  CA          {ca}")?;
        }
        if let Some(fingerprint) = &self.ca_sha256 {
            writeln!(f, "  CA SHA-256  {fingerprint}")?;
        }
        if let Some(admin) = &self.admin_url {
            writeln!(f, "  Admin API   {admin}")?;
        }
        if let Some(http) = &self.http_url {
            writeln!(f, "  Metrics     {http}/metrics")?;
        }
        if let (Some(days), Some(certificate)) = (self.certificate_days_left, &self.certificate) {
            let left = match days {
                ..=-1 => "has expired".to_owned(),
                0 => "ends today".to_owned(),
                1 => "ends in 1 day".to_owned(),
                days => format!("ends in {days} days"),
            };
            writeln!(
                f,
                "  Certificate {certificate} {left}; it was not made by quickstart, which leaves it alone"
            )?;
        }
        let (certificate, curl_certificate) = if self.needs_client_certificate {
            (
                " --elastic-agent-cert CLIENT.crt --elastic-agent-cert-key CLIENT.key",
                " --cert CLIENT.crt --key CLIENT.key",
            )
        } else {
            ("", "")
        };
        if let Some(token) = &self.enrollment_token {
            writeln!(f, "  Token       {token}")?;
            writeln!(f, "\nEnrol an agent on this machine:\n")?;
            writeln!(
                f,
                "  elastic-agent enroll --url {} --enrollment-token {token}{trust}{certificate}",
                self.url
            )?;
        }
        writeln!(f, "\nAsk for the status:\n")?;
        writeln!(f, "  curl{cacert}{curl_certificate} {}/api/status", self.url)?;
        if let (Some(admin), Some(key)) = (&self.admin_url, &self.admin_api_key) {
            writeln!(f, "\nCreate a policy:\n")?;
            writeln!(
                f,
                "  curl{cacert} -H 'Authorization: ApiKey {key}' -H 'kbn-xsrf: 1' -H 'Content-Type: application/json' \
                 -d '{{\"name\":\"my-policy\",\"namespace\":\"default\"}}' {admin}/api/fleet/agent_policies"
            )?;
        }
        writeln!(f, "\nStop with Ctrl-C. The next start reuses all of this.")
    }
}

/// Quoted for a POSIX shell.
fn quoted(text: &str) -> String {
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._-+:@%".contains(&b));
    if is_plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_survive() {
        assert_eq!(quoted("/data/certs/ca.crt"), "/data/certs/ca.crt");
        assert_eq!(quoted("/my data/it's.crt"), r"'/my data/it'\''s.crt'");
    }

    #[test]
    fn is_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quickstart.json");
        assert_eq!(QuickstartFacts::read(&path).unwrap(), None);
        let facts = QuickstartFacts {
            url: "https://localhost:8220".into(),
            internal_url: "https://localhost:8221".into(),
            admin_url: None,
            http_url: None,
            ca_file: Some("/data/certs/ca.crt".into()),
            ca_sha256: None,
            certificate: None,
            key: None,
            certificate_days_left: None,
            needs_client_certificate: true,
            policy_id: None,
            enrollment_token: Some("dG9rZW4=".into()),
            admin_api_key: None,
        };
        facts.write(&path).unwrap();
        assert_eq!(QuickstartFacts::read(&path).unwrap().as_ref(), Some(&facts));
        // Row 23: what is printed works where agents must show a certificate.
        let flags = "--certificate-authorities /data/certs/ca.crt --elastic-agent-cert CLIENT.crt \
                     --elastic-agent-cert-key CLIENT.key\n";
        assert!(facts.to_string().contains(flags), "{facts}");
        let flags = "curl --cacert /data/certs/ca.crt --cert CLIENT.crt --key CLIENT.key https://localhost:8220/api/status\n";
        assert!(facts.to_string().contains(flags), "{facts}");
        let without = QuickstartFacts {
            needs_client_certificate: false,
            ..facts
        };
        assert!(!without.to_string().contains("CLIENT"), "{without}");
    }
}
