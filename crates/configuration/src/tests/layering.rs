use std::time::Duration;

use super::{given, *};

#[test]
fn flags_win_over_files_and_files_over_an_overlay() {
    let overlay = || {
        Overlay::new("quickstart")
            .set("http.enabled", "true")
            .set("http.port", "1")
            .set("inputs.0.server.port", "2")
            .set("path.data", "/over$lay")
    };
    let config = given("http.port: 3\ninputs:\n- type: fleet-server\n  server.port: 4\n")
        .overlay(overlay())
        .flag("inputs.0.server.port=5")
        .config();
    assert!(config.http.enabled);
    assert_eq!((config.http.port, config.server().port), (3, 5));
    assert_eq!(config.path.data, PathBuf::from("/over$lay"));
    let config = given("path.data: /file")
        .overlay(overlay())
        .data_dir("/flag")
        .flag("path.data=/e")
        .config();
    assert_eq!(config.path.data, PathBuf::from("/flag"));
}

#[test]
fn dotted_and_bracketed_paths_address_the_one_input() {
    for flag in [
        "inputs.0.server.port=7",
        "inputs[0].server.port=7",
        "inputs[0].server={port: 7}",
        "inputs.0={server.port: 7}",
    ] {
        let config = given("inputs:\n- type: fleet-server\n  server.host: h\n")
            .flag(flag)
            .config();
        assert_eq!(
            (config.server().port, config.server().host.as_str()),
            (7, "h"),
            "{flag}"
        );
    }
    let config =
        given("inputs.0.server:\n  limits.max_agents: 600\n  limits:\n    checkin_limit.burst: 9\n").config();
    assert_eq!(config.server().limits.of(Limit::Checkin).burst, 9);
    assert_eq!(config.server().limits.connections(), Some(3_000));
}

#[test]
fn a_bare_flag_is_true_and_an_empty_one_says_nothing() {
    let config = given("http.port: 9")
        .flag("http.enabled")
        .flag("http.port=")
        .config();
    assert!(config.http.enabled);
    assert_eq!(config.http.port, 9);
}

#[test]
fn flag_values_are_lists_maps_and_quoted_texts() {
    let hosts = |flag: &str| {
        given("")
            .flag(&format!("output.elasticsearch.hosts={flag}"))
            .config()
            .output
            .elasticsearch
            .hosts
            .unwrap()
    };
    assert_eq!(hosts("a,b"), ["a", "b"]);
    assert_eq!(hosts("[a, 'b:1']"), ["a", "b:1"]);
    assert_eq!(hosts("a"), ["a"]);
    assert_eq!(hosts("\"a,b\""), ["a,b"]);
    // The names of a map are the operator's, dots and all.
    for flag in ["headers={a.b: 1, c: d}", "headers.a.b=1", "headers={x: ${a}}"] {
        let config = given("").flag(&format!("output.elasticsearch.{flag}"));
        assert_eq!(config.load().is_ok(), !flag.contains("${"), "{flag}");
    }
    let config = given("")
        .flag("output.elasticsearch.hosts.0=x")
        .flag("output.elasticsearch.hosts.1=y")
        .config();
    assert_eq!(config.output.elasticsearch.hosts.unwrap(), ["x", "y"]);
}

#[test]
fn values_are_typed_by_their_key() {
    let config = given(
        "logging: {level: WARNING, files.permissions: 0640, files.interval: 3600}\n\
         inputs.0.server.timeouts: {read: 90, idle: 1m30s}\n\
         inputs.0.server.gc.cleanup_after_expired_interval: nonsense\n\
         bootstrap.fleet_hosts: 1.10\n",
    )
    .config();
    assert_eq!(config.logging.level, log::LevelFilter::Warn);
    assert_eq!(config.logging.files.permissions.0, 0o640);
    assert_eq!(config.logging.files.interval, Duration::from_secs(3600));
    assert_eq!(config.server().timeouts.read, Duration::from_secs(90));
    assert_eq!(config.server().timeouts.idle, Duration::from_secs(90));
    assert_eq!(
        config.server().gc.cleanup_after_expired_interval.length,
        Duration::from_secs(30 * 86_400)
    );
    assert_eq!(config.bootstrap.fleet_hosts, ["1.10"]);
}

#[test]
fn the_internal_port_follows_the_external_one_into_freedom() {
    let port = |yaml: &str| given(yaml).config().server().internal_port();
    assert_eq!(port(""), 8221);
    assert_eq!(port("inputs.0.server.internal_port: 0"), 8221);
    assert_eq!(port("inputs.0.server.port: 0"), 0);
    assert_eq!(port("inputs.0.server: {port: 0, internal_port: 0}"), 0);
    assert_eq!(port("inputs.0.server: {port: 0, internal_port: 7}"), 7);
    let same = given("inputs.0.server: {host: localhost, port: 1, internal_port: 1}").config();
    assert_eq!(same.server().internal_address(), None);
}

#[test]
fn what_has_no_effect_is_named_in_one_notice() {
    let notices = given(
        "output.elasticsearch:\n  hosts: [https://es:9200]\n  service_token: t\n\
         inputs:\n- type: fleet-server\n  policy.id: p\n  cache.ttl_action: 1m\n  server.bulk.flush_interval: 1s\n",
    )
    .notices();
    let [notice] = notices.as_slice() else {
        panic!("{notices:?}")
    };
    insta::assert_snapshot!(notice, @r"has no effect in this version: inputs.0.cache.ttl_action, inputs.0.policy.id, inputs.0.server.bulk.flush_interval, output.elasticsearch.hosts (only names the output of the default policy), output.elasticsearch.service_token");
}

#[test]
fn deprecated_keys_are_named() {
    let notices =
        given("inputs.0.server.limits.max_connections: 5\nfleet.agent.logging.level: info\n").notices();
    assert!(
        notices
            .iter()
            .any(|notice| notice.contains("max_connections is deprecated")),
        "{notices:?}"
    );
    assert!(
        notices.iter().any(|notice| notice.contains("use logging.level")),
        "{notices:?}"
    );
}

#[test]
fn a_file_of_the_original_starts() {
    let config = given(
        "output:\n  elasticsearch:\n    hosts: '${ELASTICSEARCH_HOSTS:http://localhost:9200}'\n    \
         service_token: '${TOKEN:abc}'\n\
         fleet:\n  agent:\n    id: 1e4954ce\n    logging.level: info\n\
         inputs:\n  - type: fleet-server\n    policy.id: '${POLICY_ID:fleet-server-policy}'\n    \
         server:\n      host: localhost\n      port: 8220\n      ssl:\n        enabled: true\n        \
         certificate: /c.pem\n        key: /k.pem\n      runtime.gc_percent: 20\n\
         logging:\n  to_stderr: true\n  level: '${LOG_LEVEL:INFO}'\nhttp.enabled: true\n",
    )
    .config();
    assert_eq!(config.output.elasticsearch.urls(), ["http://localhost:9200"]);
    assert!(config.server().tls().is_some());
}

#[test]
fn yaml_anchors_may_repeat_a_section() {
    let config = given("inputs.0.server.ssl: &tls\n  certificate: /c\n  key: /k\nadmin.ssl: *tls\n").config();
    assert_eq!(config.admin.ssl, config.server().ssl);
}
