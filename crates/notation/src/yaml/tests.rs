//! What is read, what is refused with its line, and that nothing small becomes large.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn json(text: &str) -> String {
    read(text.as_bytes()).unwrap().to_json().unwrap()
}

fn refused(bytes: impl AsRef<[u8]>) -> String {
    let error = read(bytes.as_ref()).and_then(|node| node.to_json());
    error.expect_err("it was read").to_string()
}

#[test]
fn a_policy_reads_as_its_json() {
    let text = "id: p1\nrevision: 3\noutputs:\n  default:\n    type: elasticsearch\n    hosts: ['https://e:9200']\n\
                inputs:\n- id: a\n  enabled: true\n  period: 10s\n  empty:\n  text: |\n    two\n    lines\n";
    assert_eq!(
        json(text),
        r#"{"id":"p1","revision":3,"outputs":{"default":{"type":"elasticsearch","hosts":["https://e:9200"]}},"inputs":[{"id":"a","enabled":true,"period":"10s","empty":null,"text":"two\nlines\n"}]}"#
    );
}

#[test]
fn scalars_follow_the_core_schema() {
    for (yaml, expected) in [
        ("12345678901234567890123", "12345678901234567890123"),
        ("-5", "-5"),
        ("+5", "5"),
        ("007", "7"),
        ("1.50", "1.50"),
        (".5", "0.5"),
        ("1e3", "1e3"),
        ("0x1F", "31"),
        ("yes", "\"yes\""),
        ("True", "true"),
        ("'5'", "\"5\""),
        ("!!str 5", "\"5\""),
        ("!!int '5'", "5"),
        ("9.6.0", "\"9.6.0\""),
        ("1.", "1"),
        ("~", "null"),
        ("-", "[null]"),
        ("e5", "\"e5\""),
        ("{}", "{}"),
        ("[]", "[]"),
    ] {
        assert_eq!(json(yaml), expected, "{yaml}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "base: &b {a: 1, b: 2}\none: *b\ntwo:\n  <<: *b\n  b: 3\nthree:\n  <<: [{c: 4}, *b]\n";
    assert_eq!(
        json(text),
        r#"{"base":{"a":1,"b":2},"one":{"a":1,"b":2},"two":{"b":3,"a":1},"three":{"c":4,"a":1,"b":2}}"#
    );
    assert_eq!(json("a: &k x\n*k : 1\n"), r#"{"a":"x","x":1}"#);
}

#[test]
fn a_byte_order_mark_and_tabs_between_tokens_are_no_content() {
    assert_eq!(
        json("\u{feff}id:\tp\nrevision: \t1\t# one\n"),
        r#"{"id":"p","revision":1}"#
    );
    assert_eq!(json("{\t\"a\":\t1,\t\"b\":\t[\t2\t]\t}"), r#"{"a":1,"b":[2]}"#);
    assert_eq!(json("-\ta\n- \tb\n"), r#"["a","b"]"#);
    assert_eq!(json(r#"{"t":"\ud83d\ude00\/"}"#), r#"{"t":"😀/"}"#);
}

#[test]
fn a_value_stands_in_the_line_of_its_key() {
    let root = read(b"a:\n  b:\n    c\n").unwrap();
    let Value::Map(members) = root.value else {
        panic!("{root:?}")
    };
    let (name, a) = &members[0];
    assert_eq!((name.as_str(), a.line), ("a", 1));
    let Value::Map(members) = &a.value else {
        panic!("{a:?}")
    };
    assert_eq!(members[0].1.line, 2);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_line() {
    for (text, error) in [
        ("a: .inf", "line 1: .inf cannot be written in JSON"),
        (
            "a:\n  b: 1\n  c: 2\n  b: 3\n",
            "line 4: duplicate key a.b, first in line 2",
        ),
        ("- a: 1\n  a: 2\n", "line 2: duplicate key 0.a, first in line 1"),
        (
            "? [x]\n: 1",
            "line 1: a key is a single word, not a list or a mapping",
        ),
        ("a: !secret x", "line 1: the tag !secret is not known"),
        ("<<: 5", "line 1: << accepts only mappings"),
        (
            "a: &x [*x]",
            "line 1: an alias is inside the value that it refers to",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "line 2: a second document starts here; only one is read",
        ),
        (
            "a: 1\n...\nb: 2\n",
            "line 3: a second document starts here; only one is read",
        ),
    ] {
        assert_eq!(refused(text), error, "{text}");
    }
    for (text, line) in [("a: [1\nb: 2\n", "line 2: "), ("a:\n\tb: 1\n", "line 2: ")] {
        assert!(refused(text).starts_with(line), "{text}");
    }
}

#[test]
fn nothing_ends_a_text_but_its_end() {
    for text in [
        "a: 1\n\0b: 2\n",
        "a: 1\nb: \0\n",
        "a: 1\n# \0\nb: 2\n",
        "a: 1\n'\0': 2\n",
        "a: 1\n\0",
    ] {
        assert!(
            refused(text).starts_with("line 2: "),
            "{text:?}: {}",
            refused(text)
        );
    }
    assert_eq!(refused(b"a: 1\nb: \xe4\n"), "line 2: not UTF-8 text");
    assert_eq!(
        refused(b"\xff\xfea\0"),
        "line 1: this is UTF-16: save it as UTF-8"
    );
}

#[test]
fn depth_is_bounded_however_it_is_written() {
    let block: String = (0..200)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    for text in ["[", "{a: ", "- "]
        .map(|open| open.repeat(100_000))
        .iter()
        .chain([&block])
    {
        let error = refused(text);
        assert!(
            error.contains("deeper") || error.contains("recursion limit"),
            "{error}"
        );
    }
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        let _ = writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1);
    }
    assert!(refused(&chain).contains("deeper"));
}

#[test]
fn aliases_cannot_fill_the_memory() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(text, "a{level}: &a{level} [{items}]");
    }
    assert!(refused(&text).contains("more than 200000 values"));
    let long = format!("a: &a {}\nb:\n{}", "x".repeat(200_000), "- *a\n".repeat(100));
    assert!(refused(&long).contains("bytes"));
    let merged = format!(
        "a: &a {{{}}}\n{}",
        "k: 1",
        (0..100_000)
            .map(|n| format!("b{n}: {{<<: *a}}\n"))
            .collect::<String>()
    );
    assert!(refused(&merged).contains("more than 200000 values"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-:a-c0-9.&*\\[\\]{}?!|> \\n\\t'\"<,~#e%@`\\\\]{0,60}|\\PC{0,20}") {
        let _ = read(text.as_bytes()).map(|node| node.to_json());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = read(&bytes);
    }

    /// JSON is YAML: it comes back as the same value.
    #[test]
    fn json_passes_through(name in "[a-z]{1,8}", number in any::<i64>(), text in "\\PC{0,20}", flag in any::<bool>()) {
        let value = serde_json::json!({ name: [number, text, flag, null, { "x": {} }] });
        let back: serde_json::Value = serde_json::from_str(&json(&value.to_string())).unwrap();
        prop_assert_eq!(back, value);
    }
}
