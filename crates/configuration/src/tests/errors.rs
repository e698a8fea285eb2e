use super::given;

#[test]
fn cfg_01_the_texts_of_refusals() {
    let errors = |yaml: &str| given(yaml).errors();
    insta::assert_snapshot!(errors("inputs: [{type: fleet-server}, {type: fleet-server}]"), @r"fleet.yml:1: inputs: only 1 fleet-server input can be defined");
    insta::assert_snapshot!(errors("inputs: []"), @r"fleet.yml:1: inputs: a fleet-server input must be defined");
    insta::assert_snapshot!(errors("inputs:\n- type: logfile\n"), @r#"fleet.yml:2: inputs.0.type: input type must be "fleet-server""#);
    insta::assert_snapshot!(errors("output:\n  elasticsearch.hosts: [a]\n  logstash.hosts: [b]\n"), @r"fleet.yml:3: output: can only contain elasticsearch key, found logstash");
    insta::assert_snapshot!(errors("logging:\n  level: loud\n"), @r"fleet.yml:2: logging.level: invalid log level; must be one of: trace, debug, info, warn, error");
}

#[test]
fn cfg_06_the_minimums_of_key_derivation() {
    insta::assert_snapshot!(
        given("inputs:\n- type: fleet-server\n  server.pdkdf2:\n    iterations: 999\n    key_length: 13\n    salt_length: 15\n")
            .errors(),
        @r"
    fleet.yml:4: inputs.0.server.pdkdf2.iterations must be at least 1000, found `999`
    fleet.yml:5: inputs.0.server.pdkdf2.key_length must be at least 14, found `13`
    fleet.yml:6: inputs.0.server.pdkdf2.salt_length must be at least 16, found `15`
    "
    );
}

#[test]
fn what_ends_a_line_or_moves_a_cursor_is_escaped() {
    insta::assert_snapshot!(
        given("\"lo\\e[2Jgging\": 1\nlogging.level: \"a\\nb\"\n")
            .flag("output.\0elasticsearch.hosts=a")
            .errors(),
        @r"
    fleet.yml:1: unknown key lo\u{1b}
      hint: `fleet-server config reference --output -` lists every key
    fleet.yml:2: logging.level: invalid log level; must be one of: trace, debug, info, warn, error
    -E output.\u{0}elasticsearch.hosts: output: can only contain elasticsearch key, found \u{0}elasticsearch
    "
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
        @r"
    fleet.yml:2: unknown key http.prot
      hint: did you mean http.port?
    fleet.yml:3: http.port must be a whole number from 0 to 65535, found `http`
    fleet.yml:4: unknown key sevrer
      hint: did you mean inputs.0.server?
    fleet.yml:5: unknown key server
      hint: did you mean inputs.0.server?
    fleet.yml:6: logging must be a section with keys, found a single value
    fleet.yml:10: inputs.0.server.timeouts.read must be a duration such as 500ms, 30s or 1h30m (a bare number is seconds), found `soon`
    fleet.yml:10: inputs.0.server.timeouts.idle must be a duration of 0 or more, found `-1s`
    fleet.yml:11: inputs.0.server.port must be a whole number from 0 to 65535, found `70000`
    fleet.yml:12: inputs.0.server.host must be a text, found a list
    fleet.yml:13: inputs.0.server.limits must be a section with keys, found a single value
    fleet.yml:14: unknown key inputs.0.server.limit
      hint: did you mean inputs.0.server.limits?
    fleet.yml:15: path.data must be a path, found a section
    fleet.yml:16: unknown key zzz
      hint: `fleet-server config reference --output -` lists every key
    fleet.yml:17: store.type: the store postgresql is not built in this version: use embedded, which keeps everything in path.data
    -E http.enabled: http.enabled must be true or false, found `perhaps`
    -E logging.level.x: logging.level must be one of trace, debug, info, warn, error, found a section
    -E a..b: `a..b` is not a configuration key
      hint: `fleet-server config reference --output -` lists every key
    -E output.elasticsearch.hosts: this is not valid YAML: unclosed bracket '['
    "
    );
}

#[test]
fn listeners_that_ask_for_one_address_are_both_named() {
    let errors = |yaml: &str| given(yaml).errors();
    insta::assert_snapshot!(
        errors("inputs:\n- type: fleet-server\n  server:\n    port: 8300\nadmin:\n  port: 8300\n"),
        @r"
    fleet.yml:6: admin.port: localhost:8300 cannot be listened on, since inputs.0.server.port (fleet.yml:4) asks for 0.0.0.0:8300
      hint: give each listener a port of its own
    "
    );
    insta::assert_snapshot!(errors("http:\n  enabled: true\n  port: 8222\n"), @r"
    fleet.yml:3: http.port: localhost:8222 cannot be listened on, since admin.port (built-in default) asks for localhost:8222
      hint: give each listener a port of its own
    ");
    insta::assert_snapshot!(
        given("inputs:\n- type: fleet-server\n  server:\n    host: 127.0.0.1\n    internal_port: 8220\n")
            .flag("admin.port=8220")
            .errors(),
        @r"
    fleet.yml:5: inputs.0.server.internal_port: localhost:8220 cannot be listened on, since inputs.0.server.port (built-in default) asks for 127.0.0.1:8220
      hint: give each listener a port of its own
    -E admin.port: admin.port: localhost:8220 cannot be listened on, since inputs.0.server.port (built-in default) asks for 127.0.0.1:8220
      hint: give each listener a port of its own
    -E admin.port: admin.port: localhost:8220 cannot be listened on, since inputs.0.server.internal_port (fleet.yml:5) asks for localhost:8220
      hint: give each listener a port of its own
    "
    );
    insta::assert_snapshot!(errors("http: {enabled: true, host: 'http://[::1]:8221'}\n"), @r"
    fleet.yml:1: http.host: [::1]:8221 cannot be listened on, since inputs.0.server.internal_port (built-in default) asks for localhost:8221
      hint: give each listener a port of its own
    ");
    // Nothing stands there, or beside it.
    given("http.port: 8222\n").config();
    given("admin: {enabled: false, port: 8220}\n").config();
    given("admin.port: 0\nhttp: {enabled: true, port: 0}\ninputs.0.server.port: 0\n").config();
    given("admin: {host: 127.0.0.2, port: 8220}\ninputs.0.server.host: 127.0.0.1\n").config();
    given("inputs.0.server: {host: localhost, internal_port: 8220}\n").config();
}

#[test]
fn a_host_takes_no_port() {
    insta::assert_snapshot!(
        given(
            "inputs:\n- type: fleet-server\n  server:\n    host: localhost:8220\nadmin:\n  host: https://localhost\n",
        )
        .errors(),
        @r"
    fleet.yml:4: inputs.0.server.host must be a host name or an address: host takes no port, which belongs into `port`, found `localhost:8220`
    fleet.yml:6: admin.host must be a host name or an address, not a URL, found `https://localhost`
    "
    );
}

#[test]
fn a_time_out_of_zero_is_refused() {
    insta::assert_snapshot!(
        given("inputs:\n- type: fleet-server\n  server:\n    timeouts: {read: 0, write: 0s, idle: 0, read_header: 0}\n").errors(),
        @r"
    fleet.yml:4: inputs.0.server.timeouts.read must be more than 0: without a limit one client could hold a connection for ever, found `0`
    fleet.yml:4: inputs.0.server.timeouts.write must be more than 0: without a limit one client could hold a connection for ever, found `0s`
    fleet.yml:4: inputs.0.server.timeouts.idle must be more than 0: without a limit one client could hold a connection for ever, found `0`
    fleet.yml:4: inputs.0.server.timeouts.read_header must be more than 0: without a limit one client could hold a connection for ever, found `0`
    "
    );
}

#[test]
fn two_keys_that_say_how_a_line_looks_agree() {
    insta::assert_snapshot!(given("logging:\n  pretty: true\n  format: json\n").errors(), @r"fleet.yml:3: logging.format: json contradicts logging.pretty: true (fleet.yml:2): leave one of them out");
    insta::assert_snapshot!(given("logging.format: text\n").flag("logging.pretty=false").errors(), @r"-E logging.pretty: logging.pretty: false contradicts logging.format: text (fleet.yml:1): leave one of them out");
    for (yaml, on_a_terminal, elsewhere) in [
        ("", true, false),
        ("logging.pretty: true", true, true),
        ("logging.pretty: false", false, false),
        ("logging.format: auto\nlogging.pretty: true", true, true),
        ("logging.format: text", true, true),
        ("logging.format: json", false, false),
        ("logging: {format: TEXT, pretty: true}", true, true),
        ("logging: {format: json, pretty: false}", false, false),
    ] {
        let logging = given(yaml).config().logging;
        assert_eq!(
            (logging.is_text(true), logging.is_text(false)),
            (on_a_terminal, elsewhere),
            "{yaml}"
        );
    }
}

#[test]
fn an_empty_section_is_its_defaults() {
    let expected = given("").config();
    for yaml in [
        "inputs: {}",
        "inputs: [{}]",
        "inputs.0: {}",
        "inputs: [{server: {}}]",
        "inputs: [{type: fleet-server, server: \
         {timeouts: {}, limits: {}, runtime: {}, gc: {}, static_policy_tokens: {}, pdkdf2: {}, feature_flags: {}}}]",
        "output: {}",
        "output: {elasticsearch: {}}",
        "path: {}",
        "store: {}",
        "admin: {}",
        "bootstrap: {}",
        "logging: {}",
        "logging: {files: {}}",
        "http: {}",
        "inputs.0.server.limits: {checkin_limit: {}}",
    ] {
        assert_eq!(given(yaml).config(), expected, "{yaml}");
    }
    let ssl = "admin.ssl: {certificate: /c, key: /k";
    let expected = given(&format!("{ssl}}}")).config();
    assert_eq!(
        given(&format!("{ssl}, certificate_reload: {{}}}}")).config(),
        expected
    );
}

#[test]
fn nothing_but_its_end_ends_a_file() {
    let errors = |bytes: &[u8]| {
        let given = given("");
        std::fs::write(&given.sources.files[0], bytes).unwrap();
        given.errors()
    };
    insta::assert_snapshot!(errors(b"http.port: 1\n\0inputs.0.server.ssl.certificate: /c\n"), @r"fleet.yml:2: this is not valid YAML: unexpected character: `\u{0}'");
    insta::assert_snapshot!(errors(b"http.port: 1\nhttp.host: \"a\0\"\n"), @r"fleet.yml:2: this is not valid YAML: unexpected character: `\u{0}'");
    insta::assert_snapshot!(errors(b"http.port: 1\n# a comment\0\nadmin.port: 2\n"), @r"fleet.yml:2: this is not valid YAML: unexpected character: `\u{0}'");
    insta::assert_snapshot!(errors(b"http.port: 1\n---\nadmin.port: 2\n"), @r"fleet.yml:2: this is not valid YAML: a second document starts here; only one is read");
    insta::assert_snapshot!(errors(b"http.port: 1\n...\nadmin.port: 2\n"), @r"fleet.yml:3: this is not valid YAML: a second document starts here; only one is read");
    insta::assert_snapshot!(errors(b"http.port: 1\nhttp.host: \xe4\n"), @r"fleet.yml:2: this is not valid YAML: not UTF-8 text");
    insta::assert_snapshot!(errors(b"\xff\xfeh\0t\0"), @r"fleet.yml:1: this is not valid YAML: this is UTF-16: save it as UTF-8");
    // One document may say where it begins and ends.
    given("%YAML 1.2\n---\nhttp.port: 1\n...\n").config();
    given("--- # first\nhttp.port: 1\n").config();
}

#[test]
fn what_is_nested_without_end_is_an_error_wherever_it_stands() {
    const DEEP: usize = 100_000;
    for text in ["[", "{a: ", "- ", "? ", "{", "!!map {a: "] {
        let errors = given(&format!("http.host: {}", text.repeat(DEEP))).errors();
        assert!(
            errors.starts_with("fleet.yml:1: this is not valid YAML"),
            "{text}: {errors:.200}"
        );
        for key in [
            "output.elasticsearch.hosts",
            "output.elasticsearch.headers",
            "nobody",
        ] {
            let errors = given("").flag(&format!("{key}={}", text.repeat(DEEP))).load();
            // Where neither list nor map is wanted it is text.
            if let Err(errors) = errors {
                assert!(
                    errors.starts_with(&format!("-E {key}")) && errors.len() < 1000,
                    "{text}: {errors:.200}"
                );
            }
        }
    }
    let errors = given("")
        .flag(&format!("http.host={}", "${a:".repeat(DEEP)))
        .errors();
    insta::assert_snapshot!(errors, @"-E http.host: http.host: references are nested too deeply");
    for name in [".b", "[0]"] {
        let errors = given("").flag(&format!("a{}=1", name.repeat(DEEP))).errors();
        assert!(
            errors.contains("unknown key a\n") && errors.len() < 1000,
            "{errors:.200}"
        );
        let flag = format!("output.elasticsearch.hosts{}=1", name.repeat(DEEP));
        let errors = given("").flag(&flag).errors();
        assert!(
            errors.contains("output.elasticsearch.hosts") && errors.len() < 1000,
            "{errors:.200}"
        );
    }
}

#[test]
fn a_file_of_nothing_but_slips_is_told_key_by_key_and_hinted_at_for_a_few() {
    const SLIPS: usize = 49_000;
    // Each name is near a known key: looking for hints for all of them would take the time of all.
    let yaml: String = (0..SLIPS).map(|n| format!("http.port{n}x: 1\n")).collect();
    let near: String = (0..SLIPS)
        .map(|n| {
            format!(
                "logging.files.rotateeverybytes{}: 1\n",
                "s".repeat(n % 3 + 1) + &n.to_string()
            )
        })
        .collect();
    for yaml in [yaml, near] {
        let errors = given(&yaml).errors();
        assert_eq!(errors.matches(": unknown key ").count(), SLIPS);
        assert!(errors.matches("did you mean").count() <= 100);
    }
}

#[test]
fn agents_9_1_a_host_that_is_not_served() {
    insta::assert_snapshot!(
        given("http:\n  enabled: true\n  host: unix:///var/run/fleet.sock\n").errors(),
        @r"fleet.yml:3: http.host: Unix sockets are not served; it must be a host name, an address, or http://HOST[:PORT]"
    );
}

#[test]
fn t19_an_unknown_key_under_ssl() {
    insta::assert_snapshot!(
        given("inputs:\n- type: fleet-server\n  server:\n    ssl:\n      certificate: /c\n      keys: /k\n").errors(),
        @r"
    fleet.yml:6: unknown key inputs.0.server.ssl.keys
      hint: did you mean inputs.0.server.ssl.key?
    "
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
        @r"
    fleet.yml:4: admin.ssl.certificate_reload.debounce must be a duration from 0s to 10m, found `11m`
    fleet.yml:5: admin.ssl.certificate_reload.reload_interval must be 0 or a duration from 1s to 24h, found `500ms`
    fleet.yml:6: admin.ssl.certificate_reload.expiry_warning: item 1 must be a duration such as 30d, 36h or 10m, found `soon`
    fleet.yml:7: admin.ssl.certificate_reload.refuse_expired must be true or false, found `maybe`
    "
    );
    insta::assert_snapshot!(
        given("admin.ssl:\n  certificate: /c\n  certificate_reload:\n    debounce: 10s\n    max_debounce: 9s\n").errors(),
        @r"fleet.yml:5: admin.ssl.certificate_reload.max_debounce: max_debounce of 9s is shorter than debounce of 10s"
    );
}

#[test]
fn tls_words_that_cannot_be_served() {
    insta::assert_snapshot!(
        given(
            "inputs.0.server.ssl:\n  certificate: /c\n  supported_protocols: [TLSv1.1, TLSv1.2]\n  \
             cipher_suites: [NULL-MD5]\n  curve_types: [P-521]\n  ca_sha256: [abc]\n  verification_mode: half\n",
        )
        .errors(),
        @r"
    fleet.yml:3: inputs.0.server.ssl.supported_protocols: protocol `TLSv1.1` cannot be served: versions before TLSv1.2 are broken, and rustls has none of them
    fleet.yml:4: inputs.0.server.ssl.cipher_suites: unknown cipher suite `NULL-MD5`: known are TLS-AES-128-GCM-SHA256, TLS-AES-256-GCM-SHA384, TLS-CHACHA20-POLY1305-SHA256, ECDHE-ECDSA-AES-128-GCM-SHA256, ECDHE-ECDSA-AES-256-GCM-SHA384, ECDHE-ECDSA-CHACHA20-POLY1305, ECDHE-RSA-AES-128-GCM-SHA256, ECDHE-RSA-AES-256-GCM-SHA384, ECDHE-RSA-CHACHA20-POLY1305
    fleet.yml:5: inputs.0.server.ssl.curve_types: curve `P-521` cannot be served: rustls has no key exchange over it (certificates with P-521 keys are served); known are X25519, P-256, P-384, X25519MLKEM768
    fleet.yml:6: inputs.0.server.ssl.ca_sha256: `abc` is not the base64 of a SHA-256 digest
    fleet.yml:7: inputs.0.server.ssl.verification_mode: unknown verification mode `half`: known are full, certificate, strict, none
    "
    );
}

#[test]
fn tls_without_a_certificate_or_without_client_cas() {
    insta::assert_snapshot!(
        given("inputs.0.server.ssl:\n  enabled: true\nadmin.ssl:\n  certificate: /c\n  client_authentication: required\n")
            .errors(),
        @r"
    fleet.yml:2: inputs.0.server.ssl.certificate is missing: TLS needs a certificate; without TLS set ssl.enabled: false
    fleet.yml:5: admin.ssl.client_authentication: client authentication is required, but no client CA is configured
    "
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
    insta::assert_snapshot!(given.errors(), @r"
    cannot read the configuration file /nonexistent/fleet.yml: No such file or directory (os error 2)
      hint: name the file with -c FILE, or write one from fleet-server.reference.yml
    ");
}

#[test]
fn duplicates_and_other_documents() {
    insta::assert_snapshot!(given("http:\n  port: 1\nhttp.port: 2\n").errors(), @r"fleet.yml:3: http.port is set twice, first at fleet.yml:2");
    insta::assert_snapshot!(given("- a\n- b\n").errors(), @r"fleet.yml:1: a configuration is a list of `key: value` lines, not a list");
    insta::assert_snapshot!(given("http: {port: 1\n").errors(), @r"fleet.yml:1: this is not valid YAML: unclosed bracket '{'");
}
