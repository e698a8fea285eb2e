use super::given;

#[test]
fn cfg_01_the_texts_of_the_contract() {
    let errors = |yaml: &str| given(yaml).errors();
    insta::assert_snapshot!(errors("inputs: [{type: fleet-server}, {type: fleet-server}]"), @"");
    insta::assert_snapshot!(errors("inputs: []"), @"");
    insta::assert_snapshot!(errors("inputs:\n- type: logfile\n"), @"");
    insta::assert_snapshot!(errors("output:\n  elasticsearch.hosts: [a]\n  logstash.hosts: [b]\n"), @"");
    insta::assert_snapshot!(errors("logging:\n  level: loud\n"), @"");
}

#[test]
fn cfg_06_the_minimums_of_key_derivation() {
    insta::assert_snapshot!(
        given("inputs:\n- type: fleet-server\n  server.pdkdf2:\n    iterations: 999\n    key_length: 13\n    salt_length: 15\n")
            .errors(),
        @""
    );
}

#[test]
fn every_problem_is_named_with_its_line() {
    insta::assert_snapshot!(
        given(
            "http:\n  prot: 5066\n  port: http\nsevrer.port: 1\nserver.port: 2\nlogging: info\n\
             inputs:\n- type: fleet-server\n  server:\n    timeouts: {read: soon, idle: -1s}\n    port: 70000\n    \
             host: [a]\n    limits: 5\n    limit.max_agents: 2\npath.data: {x: y}\nzzz: 1\n\
             store.type: postgresql\n",
        )
        .flag("http.enabled=perhaps")
        .flag("logging.level.x=1")
        .flag("a..b=1")
        .flag("output.elasticsearch.hosts=[a")
        .errors(),
        @""
    );
}

#[test]
fn t19_an_unknown_key_under_ssl() {
    insta::assert_snapshot!(
        given("inputs:\n- type: fleet-server\n  server:\n    ssl:\n      certificate: /c\n      keys: /k\n").errors(),
        @""
    );
}

#[test]
fn t20_durations_and_ranges_of_the_reload() {
    insta::assert_snapshot!(
        given(
            "admin.ssl:\n  certificate: /c\n  certificate_reload:\n    debounce: 11m\n    reload_interval: 500ms\n    \
             expiry_warning: [30d, soon]\n    refuse_expired: maybe\n",
        )
        .errors(),
        @""
    );
    insta::assert_snapshot!(
        given("admin.ssl:\n  certificate: /c\n  certificate_reload:\n    debounce: 10s\n    max_debounce: 9s\n").errors(),
        @""
    );
}

#[test]
fn tls_words_that_can_not_be_served() {
    insta::assert_snapshot!(
        given(
            "inputs.0.server.ssl:\n  certificate: /c\n  supported_protocols: [TLSv1.1, TLSv1.2]\n  \
             cipher_suites: [NULL-MD5]\n  curve_types: [P-521]\n  ca_sha256: [abc]\n  verification_mode: half\n",
        )
        .errors(),
        @""
    );
}

#[test]
fn tls_without_a_certificate_or_without_client_cas() {
    insta::assert_snapshot!(
        given("inputs.0.server.ssl:\n  enabled: true\nadmin.ssl:\n  certificate: /c\n  client_authentication: required\n")
            .errors(),
        @""
    );
}

#[test]
fn secrets_are_not_in_errors() {
    let errors =
        given("output.elasticsearch.service_token: [hush]\ninputs.0.server.ssl.key_passphrase: {a: hush}\n")
            .flag("output.elasticsearch.headers=hush")
            .errors();
    assert!(!errors.contains("hush"), "{errors}");
    assert!(errors.contains("-E output.elasticsearch.headers"), "{errors}");
}

#[test]
fn a_missing_file_names_the_remedy() {
    let mut given = given("");
    given.sources.files = vec!["/nonexistent/fleet.yml".into()];
    insta::assert_snapshot!(given.errors(), @"");
}

#[test]
fn duplicates_and_other_documents() {
    insta::assert_snapshot!(given("http:\n  port: 1\nhttp.port: 2\n").errors(), @"");
    insta::assert_snapshot!(given("- a\n- b\n").errors(), @"");
    insta::assert_snapshot!(given("http: {port: 1\n").errors(), @"");
}
