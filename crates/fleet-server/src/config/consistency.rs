//! What no single key can know: keys that need or contradict each other.

use super::{
    Config,
    place::Place,
    problem::{Notice, Problem},
    read::Reading,
    ssl::{PathOrPem, Ssl},
};
use tls_reload::{SettingsError, VerificationMode};

/// Adds what is wrong to `reading`, and what is only unwise to `notices`.
pub fn check(config: &Config, reading: &mut Reading<'_>, notices: &mut Vec<Notice>) {
    let server = config.server();
    if let Some(ssl) = server.tls() {
        check_ssl(ssl, "inputs.0.server.ssl", reading, notices);
    } else {
        notices.push(Notice::PlainHttp);
    }
    if let Some(ssl) = config.admin.ssl.as_ref().filter(|ssl| ssl.enabled) {
        check_ssl(ssl, "admin.ssl", reading, notices);
    }
    check_tokens(config, reading);
    if reading.set.contains_key("inputs.0.server.limits.max_connections") {
        notices.push(Notice::Deprecated {
            key: "inputs.0.server.limits.max_connections".to_owned(),
            instead: "let inputs.0.server.limits.max_agents choose it",
        });
    }
    if reading.set.contains_key("fleet.agent.logging.level") {
        notices.push(Notice::Deprecated {
            key: "fleet.agent.logging.level".to_owned(),
            instead: "use logging.level",
        });
    }
}

fn check_ssl(ssl: &Ssl, path: &str, reading: &mut Reading<'_>, notices: &mut Vec<Notice>) {
    if ssl.certificate.is_none() {
        reading.missing(
            &format!("{path}.certificate"),
            "TLS needs a certificate; without TLS set ssl.enabled: false",
        );
    }
    if let Some(problem) = key_missing(ssl.certificate.as_ref(), ssl.key.as_ref()) {
        reading.missing(&format!("{path}.key"), problem);
    }
    for (index, pair) in ssl.certificates.iter().enumerate() {
        let path = format!("{path}.certificates.{index}");
        if pair.certificate.is_none() {
            reading.missing(
                &format!("{path}.certificate"),
                "each entry of certificates is a pair",
            );
        }
        if let Some(problem) = key_missing(pair.certificate.as_ref(), pair.key.as_ref()) {
            reading.missing(&format!("{path}.key"), problem);
        }
    }
    if ssl.certificate.is_some()
        && let Err(error) = ssl.settings().validate()
    {
        let key = match &error {
            SettingsError::NoClientAuthorities { .. } => format!("{path}.client_authentication"),
            SettingsError::CeilingBelowDebounce { .. } => format!("{path}.certificate_reload.max_debounce"),
            SettingsError::EmptyWarning => format!("{path}.certificate_reload.expiry_warning"),
            SettingsError::BadName { .. } => format!("{path}.certificates"),
            _ => path.to_owned(),
        };
        let place = reading.place_of(&key);
        reading.problems.push(Problem::Refused {
            place,
            key,
            sentence: error.to_string(),
        });
    }
    if ssl.verification_mode == VerificationMode::None {
        notices.push(Notice::Weak {
            key: format!("{path}.verification_mode"),
            consequence: "clients' certificates are asked for and then not verified",
        });
    }
}

/// A path may hold both; PEM that stands in the configuration can be looked at now.
fn key_missing(certificate: Option<&PathOrPem>, key: Option<&PathOrPem>) -> Option<&'static str> {
    match (certificate, key) {
        (Some(PathOrPem::Pem(pem)), None) if !pem.expose().contains("PRIVATE KEY") => {
            Some("the PEM of certificate holds no key")
        }
        _ => None,
    }
}

fn check_tokens(config: &Config, reading: &mut Reading<'_>) {
    let tokens = &config.server().static_policy_tokens;
    for (index, token) in tokens.policy_tokens.iter().enumerate() {
        let path = format!("inputs.0.server.static_policy_tokens.policy_tokens.{index}");
        if token.token_key.is_none() {
            reading.missing(
                &format!("{path}.token_key"),
                "each entry is a token and its policy",
            );
        }
        if token.policy_id.is_none() {
            reading.missing(
                &format!("{path}.policy_id"),
                "each entry is a token and its policy",
            );
        }
    }
}

impl Reading<'_> {
    fn missing(&mut self, key: &str, why: &'static str) {
        let place: Place = self.place_of(key);
        self.problems.push(Problem::Missing {
            place,
            key: key.to_owned(),
            why,
        });
    }
}
