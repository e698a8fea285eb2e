//! Checks across keys: keys that require or contradict each other.

use tls_reload::{SettingsError, VerificationMode};

use crate::{
    Config, addresses,
    engine::{
        place::Place,
        problem::{Notice, Report},
    },
    sections::{
        logging::{Format, Logging},
        ssl::{PathOrPem, Ssl},
    },
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
    check_format(&config.logging, report);
    report.deprecated(
        "inputs.0.server.limits.max_connections",
        "let inputs.0.server.limits.max_agents choose it",
    );
    report.deprecated("fleet.agent.logging.level", "use logging.level");
}

/// Two keys for one thing: the older one decides only where the newer one is silent.
fn check_format(logging: &Logging, report: &mut Report) {
    let (format, pretty) = match (logging.format, logging.pretty) {
        (Format::Text, Some(false)) => ("text", false),
        (Format::Json, Some(true)) => ("json", true),
        _ => return,
    };
    let place = |key| report.places.exactly(key).unwrap_or_else(Place::built_in);
    let (of_format, of_pretty) = (place("logging.format"), place("logging.pretty"));
    let (key, sentence) = match of_format > of_pretty {
        true => (
            "logging.format",
            format!("{format} contradicts logging.pretty: {pretty} ({of_pretty}): leave one of them out"),
        ),
        false => (
            "logging.pretty",
            format!("{pretty} contradicts logging.format: {format} ({of_format}): leave one of them out"),
        ),
    };
    report.refuse(key, sentence);
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
