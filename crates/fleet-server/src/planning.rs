//! From the configuration to a [`Plan`]: every key that has an effect is turned into the value that has it.

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Result, anyhow};
use api::{AgentOptions, Identity, ResponseCompression, Route, RouteLimits};
use fleet::{Pace, ReplaceTokenHashing, StaticToken};
use tls_reload::{PairSource, Passphrase, PemSource};

use crate::{
    build,
    config::{
        Config,
        limits::{InFlight, Rate},
        secret::Secret,
        setting::{Setting, Shown},
        ssl::{PathOrPem, Ssl},
    },
    plan::{AdminPlan, AgentsPlan, BootstrapPlan, Plan},
};

/// Plans a server.
///
/// # Errors
/// A TLS setting that can not hold: the key, and what is allowed.
pub fn plan(config: &Config) -> Result<Plan> {
    let server = config.server();
    let admin = &config.admin;
    Ok(Plan {
        data: config.path.data.clone(),
        agents: AgentsPlan {
            host: server.host.clone(),
            port: server.port,
            internal_port: server.internal_port(),
            tls: server
                .tls()
                .map(|ssl| tls("inputs.0.server.ssl", ssl))
                .transpose()?,
            limits: listener::Limits {
                max_connections: server.limits.connections().map_or(0, |max| usize_of(max.into())),
                max_header_bytes: usize_of(server.limits.max_header_byte_size.0),
                ..listener::Limits::default()
            },
            timeouts: listener::Timeouts {
                // The original's read time-out covers the handshake too; a handshake needs no minute.
                handshake: server.timeouts.read.min(listener::Timeouts::default().handshake),
                read_header: server.timeouts.read_header,
                write: server.timeouts.write,
                idle: server.timeouts.idle,
                ..listener::Timeouts::default()
            },
            options: agent_options(config),
        },
        admin: admin
            .enabled
            .then(|| {
                let own = admin.ssl.as_ref().filter(|ssl| ssl.enabled);
                Ok::<_, anyhow::Error>(AdminPlan {
                    host: admin.host.clone(),
                    port: admin.port,
                    tls: own.map(|ssl| tls("admin.ssl", ssl)).transpose()?,
                })
            })
            .transpose()?,
        http: config
            .http
            .enabled
            .then(|| (config.http.host.clone(), config.http.port)),
        bootstrap: BootstrapPlan {
            admin_key: config.admin_key_path(),
            is_enabled: config.bootstrap.enabled,
            preset_token: config.bootstrap.enrollment_token_path.clone(),
        },
        fleet: domain(config),
        drain: server.timeouts.drain,
    })
}

fn domain(config: &Config) -> fleet::Settings {
    let server = config.server();
    let times = &server.timeouts;
    let tokens = &server.static_policy_tokens;
    fleet::Settings {
        long_poll: times.checkin_long_poll,
        checkin_jitter: times.checkin_jitter,
        checkin_max_poll: times.checkin_max_poll,
        checkin_timestamp: times.checkin_timestamp,
        policy_pace: pace(server.limits.policy_limit.rate()),
        action_pace: pace(server.limits.action_limit.rate()),
        ignores_reported_policy: server.feature_flags.ignore_checkin_policy_id,
        replace_token: ReplaceTokenHashing {
            iterations: server.pdkdf2.iterations,
            key_length: usize_of(server.pdkdf2.key_length.into()),
            salt_length: usize_of(server.pdkdf2.salt_length.into()),
        },
        static_tokens: tokens
            .policy_tokens
            .iter()
            .filter(|_| tokens.enabled)
            .filter_map(|token| {
                let key = fleet::Secret::from(token.token_key.as_ref()?.expose().to_owned());
                Some(StaticToken {
                    key,
                    policy: token.policy_id.as_deref()?.into(),
                })
            })
            .collect(),
        fleet_hosts: config.bootstrap.fleet_hosts.clone(),
        default_output_hosts: config.output.elasticsearch.urls(),
        cleanup_interval: server.gc.schedule_interval,
        expired_actions_kept: server.gc.cleanup_after_expired_interval.length,
    }
}

fn agent_options(config: &Config) -> AgentOptions {
    let server = config.server();
    let limits = &server.limits;
    macro_rules! of {
        ($bucket:expr) => {
            route(
                $bucket.rate(),
                $bucket.in_flight(),
                $bucket.body_limit(),
                $bucket.decompressed_limit(),
            )
        };
    }
    AgentOptions {
        limits: api::Limits::default()
            .with_max_connections(limits.connections())
            .with(Route::Status, of!(limits.status_limit))
            .with(Route::Enroll, of!(limits.enroll_limit))
            .with(Route::Checkin, of!(limits.checkin_limit))
            .with(Route::Acks, of!(limits.ack_limit)),
        compression: ResponseCompression {
            level: u32::try_from(server.compression_level).unwrap_or(DEFAULT_COMPRESSION),
            threshold: usize_of(server.compression_threshold),
        },
        body_timeout: server.timeouts.read,
        identity: Identity {
            build_hash: build::commit().to_owned(),
            build_time: build::time().to_owned(),
        },
        ..AgentOptions::default()
    }
}

fn route(
    rate: Option<Rate>,
    in_flight: InFlight,
    body: Option<u64>,
    decompressed: Option<u64>,
) -> RouteLimits {
    RouteLimits {
        interval: rate.map(|rate| rate.interval),
        burst: rate.map_or(1, |rate| rate.burst),
        in_flight: match in_flight {
            InFlight::Unlimited => None,
            InFlight::AtMost(max) => Some(max),
            InFlight::None => Some(0),
        },
        body_bytes: body.map(usize_of),
        decompressed_bytes: decompressed.map(usize_of),
    }
}

fn pace(rate: Option<Rate>) -> Pace {
    rate.map_or(
        Pace {
            interval: Duration::ZERO,
            burst: 1,
        },
        |rate| Pace {
            interval: rate.interval,
            burst: rate.burst,
        },
    )
}

fn tls(section: &str, ssl: &Ssl) -> Result<tls_reload::Settings> {
    let default = ssl.certificate.as_ref().map(|certificate| {
        pair(
            certificate,
            ssl.key.as_ref(),
            ssl.key_passphrase.as_ref(),
            ssl.key_passphrase_path.as_ref(),
            &[],
        )
    });
    let named = ssl.certificates.iter().filter_map(|entry| {
        let certificate = entry.certificate.as_ref()?;
        Some(pair(
            certificate,
            entry.key.as_ref(),
            entry.key_passphrase.as_ref(),
            entry.key_passphrase_path.as_ref(),
            &entry.names,
        ))
    });
    let reload = &ssl.certificate_reload;
    let settings = tls_reload::Settings {
        pairs: default.into_iter().chain(named).collect(),
        client_authorities: ssl.certificate_authorities.iter().map(pem).collect(),
        client_authentication: ssl
            .client_authentication
            .as_ref()
            .map(|mode| word(section, mode))
            .transpose()?,
        verification_mode: word(section, &ssl.verification_mode)?,
        revocation_lists: ssl.certificate_revocation_lists.clone(),
        ca_sha256: words(section, &ssl.ca_sha256)?,
        protocols: words(section, &ssl.supported_protocols)?,
        cipher_suites: words(section, &ssl.cipher_suites)?,
        curves: words(section, &ssl.curve_types)?,
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        reload: tls_reload::ReloadSettings {
            enabled: reload.enabled,
            debounce: reload.debounce,
            max_debounce: reload.max_debounce,
            reload_interval: reload.reload_interval,
            expiry_warning: reload.expiry_warning.iter().map(|days| days.0).collect(),
            refuse_expired: reload.refuse_expired,
        },
    };
    settings
        .validate()
        .map_err(|error| anyhow!("{section}: {error}\nhint: {}", error.hint()))?;
    Ok(settings)
}

fn pair(
    certificate: &PathOrPem,
    key: Option<&PathOrPem>,
    phrase: Option<&Secret>,
    phrase_path: Option<&PathBuf>,
    names: &[String],
) -> PairSource {
    let passphrase = match (phrase_path, phrase) {
        (Some(path), _) => Some(Passphrase::Path(path.clone())),
        (None, Some(phrase)) => Some(Passphrase::Value(tls_reload::Secret::new(
            phrase.expose().to_owned(),
        ))),
        (None, None) => None,
    };
    PairSource {
        certificate: pem(certificate),
        key: key.map(pem),
        passphrase,
        names: names.to_vec(),
    }
}

fn pem(source: &PathOrPem) -> PemSource {
    match source {
        PathOrPem::Path(path) => PemSource::Path(path.clone()),
        PathOrPem::Pem(pem) => PemSource::from_config(pem.expose()),
    }
}

fn words<T: FromStr>(section: &str, values: &[impl Setting]) -> Result<Vec<T>>
where
    T::Err: std::fmt::Display,
{
    values.iter().map(|value| word(section, value)).collect()
}

/// The two layers name the same things by the same words.
fn word<T: FromStr>(section: &str, value: &impl Setting) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    let text = match value.shown() {
        Some(Shown::Text(text)) => text,
        _ => String::new(),
    };
    text.parse()
        .map_err(|error: T::Err| anyhow!("{section}: {error}"))
}

/// What a limit beyond this machine's memory means: as much as there is.
fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

const DEFAULT_COMPRESSION: u32 = 6;
