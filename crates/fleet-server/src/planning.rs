//! From the configuration to a [`Plan`]: every key that has an effect is turned into the value that has it.

use std::time::Duration;

use anyhow::{Result, anyhow};
use api::{AgentOptions, Identity, ResponseCompression, Route, RouteLimits};
use configuration::{ByteSize, Config, Effective, Limit, Ssl};
use fleet::{Pace, ReplaceTokenHashing, StaticToken, uploads::FileLimits};

use crate::{
    build,
    plan::{AdminPlan, AgentsPlan, BootstrapPlan, Plan, SigningKeyPlan},
    store_key::StoreKeyFile,
};

/// Plans a server.
///
/// # Errors
/// A TLS setting that cannot hold: the key, and what is allowed.
pub(crate) fn plan(config: &Config) -> Result<Plan> {
    let server = config.server();
    let admin = &config.admin;
    Ok(Plan {
        data: config.path.data.clone(),
        agents: AgentsPlan {
            host: server.host.clone(),
            port: server.port,
            internal_port: server.internal_address().map(|(_, port)| port),
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
            .then_some(&config.http)
            .map(|http| (http.host.host.clone(), http.host.port.unwrap_or(http.port))),
        bootstrap: BootstrapPlan {
            admin_key: config.admin_key_path(),
            is_enabled: config.bootstrap.enabled,
            preset_token: config.bootstrap.enrollment_token_path.clone(),
        },
        store_key: store_key(config),
        signing_key: SigningKeyPlan {
            directory: config.pgp_directory(),
            upstream: server.pgp.upstream_url.clone(),
        },
        fleet: domain(config),
        drain: server.timeouts.drain,
    })
}

/// Where the key lies that secrets are encrypted with.
pub(crate) fn store_key(config: &Config) -> StoreKeyFile {
    let given = config.store.encryption_key_path.clone();
    StoreKeyFile {
        is_given: given.is_some(),
        path: given.unwrap_or_else(|| config.path.data.join("store.key")),
    }
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
        policy_pace: pace(server.limits.of(Limit::Policy)),
        action_pace: pace(server.limits.of(Limit::Action)),
        ignores_reported_policy: server.feature_flags.ignore_checkin_policy_id,
        farewells: usize_of(server.feature_flags.graceful_force_unenroll.agents()),
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
        policy_revisions_kept: config.admin.policy_revisions_kept,
        audit_kept: config.admin.audit_retention.0,
        files: files(config),
        ..fleet::Settings::default()
    }
}

fn files(config: &Config) -> FileLimits {
    let files = &config.files;
    let some = |size: ByteSize| Some(size.0).filter(|bytes| *bytes > 0);
    FileLimits {
        of_file: config.server().limits.max_file_storage_size.map(|size| size.0),
        of_agent: some(files.max_agent_size),
        open_of_agent: Some(files.max_open_uploads).filter(|most| *most > 0),
        of_all: some(files.max_total_size),
        free: files.min_free_space.0,
        open_for: files.upload_timeout,
        kept: files.retention.0,
    }
}

fn agent_options(config: &Config) -> AgentOptions {
    let server = config.server();
    let limits = &server.limits;
    AgentOptions {
        limits: api::Limits::default()
            .with_max_connections(limits.connections())
            .with(Route::Status, route(limits.of(Limit::Status)))
            .with(Route::Enroll, route(limits.of(Limit::Enroll)))
            .with(Route::Checkin, route(limits.of(Limit::Checkin)))
            .with(Route::Acks, route(limits.of(Limit::Ack)))
            .with(Route::AuditUnenroll, route(limits.of(Limit::AuditUnenroll)))
            .with(Route::PgpRetrieval, route(limits.of(Limit::PgpRetrieval)))
            .with(Route::Artifact, route(limits.of(Limit::Artifact)))
            .with(Route::UploadStart, route(limits.of(Limit::UploadStart)))
            .with(Route::UploadEnd, route(limits.of(Limit::UploadEnd)))
            .with(Route::UploadChunk, route(limits.of(Limit::UploadChunk)))
            .with(Route::FileDelivery, route(limits.of(Limit::FileDelivery)))
            .with(Route::OpAmp, route(limits.of(Limit::OpAmp))),
        compression: ResponseCompression {
            level: u32::try_from(server.compression_level).unwrap_or(DEFAULT_COMPRESSION),
            threshold: usize_of(server.compression_threshold),
        },
        body_timeout: server.timeouts.read,
        idle_timeout: server.timeouts.idle,
        serves_opamp: server.feature_flags.enable_opamp,
        identity: Identity {
            build_hash: build::commit().to_owned(),
            build_time: build::time().to_owned(),
        },
        ..AgentOptions::default()
    }
}

fn route(limit: Effective) -> RouteLimits {
    RouteLimits {
        interval: limit.interval,
        burst: limit.burst,
        in_flight: limit.in_flight,
        body_bytes: limit.body.map(usize_of),
        decompressed_bytes: limit.decompressed.map(usize_of),
    }
}

fn pace(limit: Effective) -> Pace {
    Pace {
        interval: limit.interval.unwrap_or(Duration::ZERO),
        burst: limit.burst,
    }
}

fn tls(section: &str, ssl: &Ssl) -> Result<tls_reload::Settings> {
    let settings = ssl.settings();
    settings
        .validate()
        .map_err(|error| anyhow!("{section}: {error}\nhint: {}", error.hint()))?;
    Ok(settings)
}

/// A limit beyond `usize` counts as the largest `usize`.
fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

const DEFAULT_COMPRESSION: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use configuration::{Sources, load};

    fn planned(flags: &[&str]) -> Plan {
        let sources = Sources {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..Sources::default()
        };
        plan(&load(&sources).unwrap().0).unwrap()
    }

    #[test]
    fn agents_1_1_the_internal_listener_is_skipped_where_the_external_one_stands() {
        let internal = |host: &str, port: &str, internal: &str| {
            let host = format!("inputs.0.server.host={host}");
            let port = format!("inputs.0.server.port={port}");
            let own = format!("inputs.0.server.internal_port={internal}");
            planned(&[&host, &port, &own]).agents.internal_port
        };
        assert_eq!(internal("localhost", "8220", "8220"), None);
        assert_eq!(internal("localhost", "8221", "0"), None);
        assert_eq!(internal("localhost", "8220", "8221"), Some(8221));
        assert_eq!(internal("localhost", "0", "0"), Some(0));
        assert_eq!(internal("127.0.0.2", "8220", "8220"), Some(8220));
    }

    #[test]
    fn agents_9_1_the_port_of_an_http_url_wins() {
        let http = |host: &str| planned(&["http.enabled", host, "http.port=1"]).http.unwrap();
        assert_eq!(http("http.host=http://127.0.0.1:2"), ("127.0.0.1".to_owned(), 2));
        assert_eq!(http("http.host=http://127.0.0.1"), ("127.0.0.1".to_owned(), 1));
        assert_eq!(http("http.host=::1"), ("::1".to_owned(), 1));
    }
}
