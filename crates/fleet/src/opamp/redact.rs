//! Takes the secrets out of a configuration that an agent reports, before anybody stores or sees it (agents.md 13.5).

use serde_json::Value;

/// Replaces what is secret by its name or by its place in a URL.
pub(super) fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // `{name: authorization, value: …}`, as headers are often written.
            let names_secret = members.get("name").and_then(Value::as_str).is_some_and(is_secret);
            for (name, value) in members {
                if is_secret(name) || (names_secret && name == "value") {
                    hide(value);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => without_credentials(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Text under a secret name, in a list too. Maps have names of their own.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) => REDACTED.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        other => redact(other),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name != "routekey" && SECRET.iter().any(|part| name.contains(part))
}

/// `https://user:password@host` loses both, in each URL of a list too.
fn without_credentials(text: &mut String) {
    let mut from = 0;
    while let Some(begin) = text[from..].find("://").map(|at| from + at + 3) {
        // A comma or a space may be in a password that was not escaped: the authority goes on to the URL's end.
        let end = text[begin..]
            .find(['/', '?', '#'])
            .map_or(text.len(), |at| begin + at);
        from = begin;
        if let Some(at) = text[begin..end].rfind('@') {
            text.replace_range(begin..begin + at, REDACTED);
            from += REDACTED.len();
        }
    }
}

const SECRET: [&str; 7] = [
    "auth",
    "certificate",
    "passphrase",
    "password",
    "token",
    "key",
    "secret",
];
const REDACTED: &str = "REDACTED";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redacted(mut value: Value) -> Value {
        redact(&mut value);
        value
    }

    #[test]
    fn opa_08_secrets_go_by_name_in_any_case_and_depth() {
        let config = json!({
            "exporters": {"otlp": {"API_Key": "k", "headers": {"Authorization": "Bearer x"}, "timeout": "5s"}},
            "lists": [{"name": "X-Token", "value": "t"}, {"name": "plain", "value": "shown"}, {"passwords": ["a", "b"]}],
            "routekey": "kept", "routekeys": "not", "key_count": 7, "auth": {"realm": "shown", "secret": "s"},
        });
        let expected = json!({
            "exporters": {"otlp": {"API_Key": REDACTED, "headers": {"Authorization": REDACTED}, "timeout": "5s"}},
            "lists": [
                {"name": "X-Token", "value": REDACTED},
                {"name": "plain", "value": "shown"},
                {"passwords": [REDACTED, REDACTED]},
            ],
            "routekey": "kept", "routekeys": REDACTED, "key_count": 7, "auth": {"realm": "shown", "secret": REDACTED},
        });
        assert_eq!(redacted(config), expected);
    }

    #[test]
    fn opa_08_credentials_in_urls_go() {
        for (url, shown) in [
            ("https://u:p@host:1/x@y", "https://REDACTED@host:1/x@y"),
            ("https://u@p@host", "https://REDACTED@host"),
            ("https://host/a:b@c", "https://host/a:b@c"),
            ("mail a@b", "mail a@b"),
            ("://@", "://REDACTED@"),
            (
                "https://a:9200,https://u:p@b:9200",
                "https://a:9200,https://REDACTED@b:9200",
            ),
            (
                "https://u:p@a https://b/x?y=z@w https://q@ä://r@c/d",
                "https://REDACTED@a https://b/x?y=z@w https://REDACTED@ä://REDACTED@c/d",
            ),
        ] {
            assert_eq!(redacted(json!(url)), json!(shown));
        }
    }

    proptest! {
        /// No text survives under a secret name, whatever stands around it.
        #[test]
        fn no_text_survives_under_a_secret_name(before in ".{0,8}", after in ".{0,8}", secret in "[a-z]{20}") {
            let name = format!("{before}PassWord{after}");
            let shown = redacted(json!([{name: [&secret, {"token": &secret}]}])).to_string();
            prop_assert!(!shown.contains(&secret), "{shown}");
        }
    }
}
