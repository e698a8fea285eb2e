//! Checks across keys: keys that require or contradict each other.

use tls_reload::{SettingsError, VerificationMode};

use crate::{
    Config, addresses,
    engine::problem::{Notice, Report},
    sections::ssl::{PathOrPem, Ssl},
};

/// Adds errors and warnings to `report`.
pub(crate) fn check(config: &Config, report: &mut Report) {
    match config.server().tls() {
        Some(ssl) => check_ssl(ssl, "inputs.0.server.ssl", report),
        None => report.notices.push(Notice::PlainHttp),
    }
    if let Some(ssl) = config.admin.ssl.as_ref().filter(|ssl| ssl.enabled) {
        check_ssl(ssl, "admin.ssl", report);
    }
    addresses::check(config, report);
    let tokens = &config.server().static_policy_tokens.policy_tokens;
    for (index, token) in tokens.iter().enumerate() {
        let path = format!("inputs.0.server.static_policy_tokens.policy_tokens.{index}");
        for (name, is_set) in [
            ("token_key", token.token_key.is_some()),
            ("policy_id", token.policy_id.is_some()),
        ] {
            if !is_set {
                report.missing(format!("{path}.{name}"), "each entry is a token and its policy");
            }
        }
    }
    report.deprecated(
        "inputs.0.server.limits.max_connections",
        "let inputs.0.server.limits.max_agents choose it",
    );
    report.deprecated("fleet.agent.logging.level", "use logging.level");
}

fn check_ssl(ssl: &Ssl, path: &str, report: &mut Report) {
    if ssl.certificate.is_none() {
        report.missing(
            format!("{path}.certificate"),
            "TLS needs a certificate; without TLS set ssl.enabled: false",
        );
    }
    check_key(ssl.certificate.as_ref(), ssl.key.as_ref(), path, report);
    for (index, pair) in ssl.certificates.iter().enumerate() {
        let path = format!("{path}.certificates.{index}");
        if pair.certificate.is_none() {
            report.missing(
                format!("{path}.certificate"),
                "each entry of certificates is a pair",
            );
        }
        check_key(pair.certificate.as_ref(), pair.key.as_ref(), &path, report);
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
        report.refuse(&key, error.to_string());
    }
    if ssl.verification_mode == VerificationMode::None {
        report.notices.push(Notice::Weak {
            key: format!("{path}.verification_mode"),
            consequence: "clients' certificates are asked for and then not verified",
        });
    }
}

/// A file may hold both, which is seen only when it is read; inline PEM can be checked here.
fn check_key(certificate: Option<&PathOrPem>, key: Option<&PathOrPem>, path: &str, report: &mut Report) {
    if let (Some(PathOrPem::Pem(pem)), None) = (certificate, key)
        && !pem.expose().contains("PRIVATE KEY")
    {
        report.missing(
            format!("{path}.key"),
            "the PEM of certificate does not contain a key",
        );
    }
}
