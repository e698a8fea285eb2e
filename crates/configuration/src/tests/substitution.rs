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

/// What a key that takes any text then holds.
fn text(written: &str) -> String {
    given(&format!(
        "output.elasticsearch.path: '{written}'\nadmin.host: base\nadmin.port: 99\n"
    ))
    .environment(ENVIRONMENT)
    .config()
    .output
    .elasticsearch
    .path
    .unwrap()
}

#[test]
fn cfg_02_a_name_is_its_value_or_its_default() {
    assert_eq!(text("${X:def}"), "env");
    assert_eq!(text("${UNSET:def}"), "def");
    assert_eq!(text("${EMPTY:def}"), "def");
    assert_eq!(text("${X}"), "env");
    assert_eq!(text("a${X}b${UNSET:}c"), "aenvbc");
}

#[test]
fn the_configuration_comes_before_the_environment() {
    assert_eq!(text("${admin.host}"), "base");
    assert_eq!(text("${admin.host}:${admin.port}"), "base:99");
    // A built-in default is the last resort.
    assert_eq!(text("${store.type}"), "embedded");
    assert_eq!(text("${store.type:given}"), "given");
}

#[test]
fn alternatives_errors_nesting_and_escapes() {
    assert_eq!(text("${X:+alt}"), "alt");
    assert_eq!(text("${UNSET:+alt}${X}"), "env");
    assert_eq!(text("${UNSET:${EMPTY:${X}}}"), "env");
    assert_eq!(text("${${NAME}}"), "env");
    assert_eq!(text("$${X}"), "${X}");
    assert_eq!(text("${UNSET:a$}b}"), "a}b");
    assert_eq!(text("costs $5"), "costs $5");
}

#[test]
fn a_default_with_the_dash_of_a_shell_is_noted() {
    let yaml = "output.elasticsearch.path: ${UNSET:-hush}\nadmin.host: ${UNSET:${OTHER:-a}}\nhttp.host: ${UNSET:a-b}:-c\n";
    assert_eq!(text("${UNSET:-def}"), "-def");
    let mut notices = given(yaml)
        .flag("http.host=localhost")
        .environment(ENVIRONMENT)
        .notices();
    notices.retain(|notice| notice.contains(":-"));
    notices.sort();
    insta::assert_snapshot!(notices.join("\n"), @r"
    admin.host: the default of ${OTHER:-…} begins with the dash, as in the original; write ${OTHER:…} if it is the shell's `:-` that was meant
    output.elasticsearch.path: the default of ${UNSET:-…} begins with the dash, as in the original; write ${UNSET:…} if it is the shell's `:-` that was meant
    ");
}

#[test]
fn a_refused_value_that_is_such_a_default_is_explained() {
    let yaml = "logging.level: ${UNSET:-info}\nadmin.port: ${UNSET:-8222}\nhttp.port: 99999\n";
    insta::assert_snapshot!(given(yaml).environment(ENVIRONMENT).errors(), @r"
    fleet.yml:1: logging.level: invalid log level; must be one of: trace, debug, info, warn, error
      hint: the default of ${UNSET:-…} begins with the dash, as in the original; write ${UNSET:…} if it is the shell's `:-` that was meant
    fleet.yml:2: admin.port must be a whole number from 0 to 65535, found `-8222`
      hint: the default of ${UNSET:-…} begins with the dash, as in the original; write ${UNSET:…} if it is the shell's `:-` that was meant
    fleet.yml:3: http.port must be a whole number from 0 to 65535, found `99999`
    ");
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
    assert_eq!(text("${LIST}"), "a,b");
    assert_eq!(text("${OBJECT}"), "{a: b}");
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
