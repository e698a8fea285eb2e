use super::given;

const ENVIRONMENT: &[(&str, &str)] = &[
    ("X", "env"),
    ("EMPTY", ""),
    ("LIST", "a,b"),
    ("FLOW", "[c, d]"),
    ("NUMBER", "17"),
    ("NAME", "X"),
    ("OBJECT", "{a: b}"),
];

fn host(text: &str) -> String {
    given(&format!(
        "inputs.0.server.host: '{text}'\nadmin.host: base\nadmin.port: 99\n"
    ))
    .environment(ENVIRONMENT)
    .config()
    .server()
    .host
    .clone()
}

#[test]
fn cfg_02_a_name_is_its_value_or_its_default() {
    assert_eq!(host("${X:def}"), "env");
    assert_eq!(host("${UNSET:def}"), "def");
    assert_eq!(host("${EMPTY:def}"), "def");
    assert_eq!(host("${X}"), "env");
    assert_eq!(host("a${X}b${UNSET:}c"), "aenvbc");
}

#[test]
fn the_configuration_comes_before_the_environment() {
    assert_eq!(host("${admin.host}"), "base");
    assert_eq!(host("${admin.host}:${admin.port}"), "base:99");
    // A built-in default is the last resort.
    assert_eq!(host("${store.type}"), "embedded");
    assert_eq!(host("${store.type:given}"), "given");
}

#[test]
fn alternatives_errors_nesting_and_escapes() {
    assert_eq!(host("${X:+alt}"), "alt");
    assert_eq!(host("${UNSET:+alt}${X}"), "env");
    assert_eq!(host("${UNSET:${EMPTY:${X}}}"), "env");
    assert_eq!(host("${${NAME}}"), "env");
    assert_eq!(host("$${X}"), "${X}");
    assert_eq!(host("${UNSET:a$}b}"), "a}b");
    assert_eq!(host("costs $5"), "costs $5");
}

#[test]
fn variables_are_read_as_the_key_wants_them() {
    let hosts = |text: &str| {
        let yaml = format!("output.elasticsearch.hosts: '{text}'");
        given(&yaml)
            .environment(ENVIRONMENT)
            .config()
            .output
            .elasticsearch
            .hosts
            .unwrap()
    };
    assert_eq!(hosts("${LIST}"), ["a", "b"]);
    assert_eq!(hosts("${FLOW}"), ["c", "d"]);
    assert_eq!(hosts("${UNSET:x,y}"), ["x", "y"]);
    assert_eq!(host("${LIST}"), "a,b");
    assert_eq!(host("${OBJECT}"), "{a: b}");
    let config = given("http.port: ${NUMBER}").environment(ENVIRONMENT).config();
    assert_eq!(config.http.port, 17);
    let config = given("")
        .flag("http.port=${NUMBER}")
        .environment(ENVIRONMENT)
        .config();
    assert_eq!(config.http.port, 17);
}

#[test]
fn a_whole_section_can_be_taken_from_another() {
    let yaml = "inputs.0.server.ssl: {certificate: '${X}', key: /k}\nadmin.ssl: ${inputs.0.server.ssl}\n";
    let config = given(yaml).environment(ENVIRONMENT).config();
    assert_eq!(config.admin.ssl, config.server().ssl);
}

#[test]
fn what_stands_for_nothing_is_an_error_with_its_line() {
    insta::assert_snapshot!(
        given("http:\n  host: ${NOBODY}\n  port: ${NUMBER:?the port is not set}\nadmin.host: ${admin.host}\nlogging.level: a${\n")
            .errors(),
        @r"
    fleet.yml:2: http.host: ${NOBODY} is neither a configuration key nor a set environment variable
      hint: set NOBODY, or give a default: ${NOBODY:default}; a literal `${` is `$${`
    fleet.yml:3: http.port: the port is not set
    fleet.yml:4: admin.host: the value refers to itself
    fleet.yml:5: logging.level: `${}` has no name
    "
    );
}

#[test]
fn values_that_multiply_each_other_end_in_an_error() {
    let mut yaml =
        String::from("http.host: ${output.elasticsearch.headers.h0}\noutput.elasticsearch.headers:\n");
    for level in 0..14 {
        let next = format!("${{output.elasticsearch.headers.h{}}}", level + 1);
        yaml.push_str(&format!("  h{level}: {}\n", next.repeat(8)));
    }
    yaml.push_str("  h14: x\n");
    assert!(given(&yaml).errors().contains("too many references"));
}
