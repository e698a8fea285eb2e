//! Lenient reading of JSON bodies (agents.md 1.6).
//!
//! Only the first value is read; unknown members are skipped; names match in any case; the last duplicate wins;
//! `null` counts as absent; a wrong type is an error that names the member. Values that are kept whole stay the
//! text they were. Memory is bounded by the text: only known members are remembered. Nesting is limited before
//! anything recursive looks at the text.

use std::fmt;

use actix_web::web::Bytes;
use fleet::RawJson;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::off_the_loop::off_the_loop_if_large;

use crate::member::Member;

/// Deeper values are refused: later readers recurse, and stop at 128 levels with room for their own wrapping.
const MAX_DEPTH: usize = 100;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("the body is empty: expected a JSON object")]
    Empty,
    #[error("the body is not UTF-8 text")]
    NotUtf8,
    #[error("{0}")]
    Syntax(String),
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("{member}: expected {expected}, found {found}")]
    WrongType {
        /// Dotted path of the member.
        member: String,
        expected: &'static str,
        found: String,
    },
}

/// Decodes a body with `read`, off the event loop if it is large.
pub(crate) async fn decode<T: Send + 'static>(
    body: Bytes,
    read: fn(&str) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    off_the_loop_if_large(body.len(), move || read_text(&body, read))
        .await
        .unwrap_or_else(|_| {
            Err(JsonError::Syntax(
                "the server is stopping and decodes nothing any more".to_owned(),
            ))
        })
}

fn read_text<T>(body: &[u8], read: fn(&str) -> Result<T, JsonError>) -> Result<T, JsonError> {
    let text = std::str::from_utf8(body).map_err(|_| JsonError::NotUtf8)?;
    check_depth(text)?;
    read(text)
}

/// Scans the first value once and refuses it if it nests too deep. Does not check that it is well formed.
fn check_depth(text: &str) -> Result<(), JsonError> {
    let mut depth = 0usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says what stands in the place of a body's object, as far as its first character tells.
pub(crate) fn check_is_object(body: &[u8]) -> Result<(), JsonError> {
    match std::str::from_utf8(body).map(kind_of) {
        // What is no JSON at all is the parser's to explain.
        Ok("an object" | "no value") | Err(_) => Ok(()),
        Ok(found) => Err(JsonError::WrongType {
            member: "the body".to_owned(),
            expected: "an object",
            found: found.to_owned(),
        }),
    }
}

/// The known members of one JSON object.
pub(crate) struct Object<'a, const N: usize> {
    path: &'a str,
    names: &'static [Member; N],
    members: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Object<'a, N> {
    /// Reads the first value of a body, which must be an object.
    pub(crate) fn body(text: &'a str, names: &'static [Member; N]) -> Result<Self, JsonError> {
        if text.trim_start_matches([' ', '\t', '\r', '\n']).is_empty() {
            return Err(JsonError::Empty);
        }
        Self::read(text, "", names)
    }

    fn read(text: &'a str, path: &'a str, names: &'static [Member; N]) -> Result<Self, JsonError> {
        match kind_of(text) {
            "an object" => {
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let members = Members { names }.deserialize(&mut deserializer).map_err(syntax)?;
                Ok(Self { path, names, members })
            }
            // A `null` body sets nothing, like an empty object.
            "null" => Ok(Self {
                path,
                names,
                members: [None; N],
            }),
            "no value" => Err(syntax(serde_json::Error::custom("not a JSON value"))),
            found => {
                let member = if path.is_empty() { "the body" } else { path };
                Err(JsonError::WrongType {
                    member: member.to_owned(),
                    expected: "an object",
                    found: found.to_owned(),
                })
            }
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.name == name)
    }

    /// What a member is declared as is what it is read as.
    fn expect_declared(&self, name: &str, expected: &str) {
        debug_assert!(
            self.place(name)
                .and_then(|place| self.names.get(place))
                .is_none_or(|member| member.reads_as(expected)),
            "{name} is read as {expected} and declared as something else"
        );
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let place = self.place(name);
        debug_assert!(place.is_some(), "{name} is not among the known members");
        place
            .and_then(|place| self.members.get(place).copied().flatten())
            .filter(|raw| raw.get() != "null")
    }

    fn wrong(&self, name: &str, expected: &'static str, found: String) -> JsonError {
        let dot = if self.path.is_empty() { "" } else { "." };
        let member = format!("{}{dot}{name}", self.path);
        JsonError::WrongType {
            member,
            expected,
            found,
        }
    }

    fn typed<T: Deserialize<'a>>(&self, name: &str, expected: &'static str) -> Result<Option<T>, JsonError> {
        self.expect_declared(name, expected);
        self.get(name)
            .map(|raw| {
                serde_json::from_str(raw.get())
                    .map_err(|error| self.wrong(name, expected, found(raw.get(), expected, &error)))
            })
            .transpose()
    }
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, JsonError> {
        self.typed(name, "a string")
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, JsonError> {
        self.typed(name, "a boolean")
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, JsonError> {
        self.typed(name, "a whole number")
    }

    /// Text values; `null` items count as empty text.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, JsonError> {
        let texts: Option<Vec<Option<String>>> = self.typed(name, "an array of strings")?;
        Ok(texts.map(|texts| texts.into_iter().map(Option::unwrap_or_default).collect()))
    }

    /// Any value, kept as it is written.
    pub(crate) fn raw(&self, name: &str) -> Result<Option<RawJson>, JsonError> {
        self.get(name)
            .map(|raw| RawJson::parse(raw.get().to_owned()).map_err(syntax))
            .transpose()
    }

    /// The items of an array.
    pub(crate) fn items(&self, name: &str) -> Result<Option<Vec<&'a RawValue>>, JsonError> {
        self.typed(name, "an array")
    }

    /// An object within; `path` names it in errors.
    pub(crate) fn object<const M: usize>(
        &self,
        name: &str,
        path: &'a str,
        names: &'static [Member; M],
    ) -> Result<Option<Object<'a, M>>, JsonError> {
        self.expect_declared(name, "an object");
        self.get(name)
            .map(|raw| Object::read(raw.get(), path, names))
            .transpose()
    }
}

/// Reads an item of an array that should be an object; any other value counts as an object without members.
pub(crate) fn item<'a, const N: usize>(raw: &'a RawValue, names: &'static [Member; N]) -> Object<'a, N> {
    Object::read(raw.get(), "", names).unwrap_or(Object {
        path: "",
        names,
        members: [None; N],
    })
}

struct Members<const N: usize> {
    names: &'static [Member; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for Members<N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = [None; N];
        while let Some(place) = map.next_key_seed(Place { names: self.names })? {
            match place.and_then(|place| members.get_mut(place)) {
                Some(slot) => *slot = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

/// Reads a name and answers its place among the known ones.
struct Place<const N: usize> {
    names: &'static [Member; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for Place<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Place<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self
            .names
            .iter()
            .position(|known| known.name.eq_ignore_ascii_case(name)))
    }
}

/// Counts the items of an array without keeping them; `None` if the value is not an array.
pub(crate) fn count_items(raw: &RawValue) -> Option<usize> {
    struct Count;
    impl<'de> Visitor<'de> for Count {
        type Value = usize;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<usize, A::Error> {
            let mut count = 0;
            while items.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }
    }
    serde_json::Deserializer::from_str(raw.get())
        .deserialize_seq(Count)
        .ok()
}

impl<'a, const N: usize> Object<'a, N> {
    /// How many items an array has.
    pub(crate) fn count(&self, name: &str) -> Option<usize> {
        self.get(name).and_then(count_items)
    }
}

fn syntax(error: serde_json::Error) -> JsonError {
    JsonError::Syntax(error.to_string())
}

/// What is in the place of what was expected. A value of the right kind that cannot be read says why.
fn found(text: &str, expected: &str, error: &serde_json::Error) -> String {
    match kind_of(text) {
        "a number" if expected.ends_with("number") => text.chars().take(SHOWN).collect(),
        "a string" if expected == "a string" => {
            "one that is no text: an escape such as \\ud800 is half of a pair".to_owned()
        }
        kind if expected.starts_with(kind) => {
            // The position within the value is dropped: it does not count from the start of the body.
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            format!("one that cannot be read: {reason}")
        }
        kind => kind.to_owned(),
    }
}

/// Characters of a number that an error shows.
const SHOWN: usize = 32;

/// What a value is, told from its first character.
fn kind_of(text: &str) -> &'static str {
    match text.trim_start_matches([' ', '\t', '\r', '\n']).bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't') if text.trim_start().starts_with("true") => "a boolean",
        Some(b'f') if text.trim_start().starts_with("false") => "a boolean",
        Some(b'n') if text.trim_start().starts_with("null") => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "no value",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLAG: [Member; 1] = [Member::boolean("flag")];
    const NAMES: [Member; 5] = [
        Member::text("status"),
        Member::integer("count"),
        Member::object("inner", &FLAG),
        Member::texts("list"),
        Member::items("things", &FLAG),
    ];

    fn read(text: &str) -> Result<Object<'_, 5>, JsonError> {
        check_depth(text)?;
        Object::body(text, &NAMES)
    }

    #[test]
    fn first_value_any_case_last_duplicate_null_is_absent() {
        let object = read(r#" {"Status":"a","x":{"y":[1]},"STATUS":"b","count":null} trailing"#).unwrap();
        assert_eq!(object.text("status").unwrap().as_deref(), Some("b"));
        assert_eq!(object.integer("count").unwrap(), None);
        assert!(read("null").unwrap().text("status").unwrap().is_none());
        let escaped = read(r#"{"st\u0061tus":"c\n"}"#).unwrap();
        assert_eq!(escaped.text("status").unwrap().as_deref(), Some("c\n"));
    }

    #[test]
    fn wrong_types_name_the_member() {
        let text = r#"{"status":5,"count":1.5,"inner":{"flag":"x"},"list":[1]}"#;
        let object = read(text).unwrap();
        let said = |error: JsonError| error.to_string();
        assert_eq!(
            said(object.text("status").unwrap_err()),
            "status: expected a string, found a number"
        );
        assert_eq!(
            said(object.integer("count").unwrap_err()),
            "count: expected a whole number, found 1.5"
        );
        let inner = object.object("inner", "inner", &FLAG).unwrap().unwrap();
        assert_eq!(
            said(inner.boolean("flag").unwrap_err()),
            "inner.flag: expected a boolean, found a string"
        );
        assert_eq!(
            said(object.texts("list").unwrap_err()),
            "list: expected an array of strings, found one that cannot be read: invalid type: integer `1`, expected a string"
        );
        assert!(matches!(
            read(r#"{"inner":5}"#).unwrap().object("inner", "inner", &FLAG),
            Err(JsonError::WrongType { .. })
        ));
        assert_eq!(
            said(read("[]").err().unwrap()),
            "the body: expected an object, found an array"
        );
    }

    #[test]
    fn case_13_a_string_that_cannot_be_decoded_is_told_from_another_type() {
        let object = read(r#"{"status":"\ud800","count":9223372036854775808}"#).unwrap();
        assert_eq!(
            object.text("status").unwrap_err().to_string(),
            "status: expected a string, found one that is no text: an escape such as \\ud800 is half of a pair"
        );
        assert_eq!(
            object.integer("count").unwrap_err().to_string(),
            "count: expected a whole number, found 9223372036854775808"
        );
    }

    #[test]
    fn values_kept_whole_stay_the_text_they_were() {
        let object = read(r#"{"inner":{"big":12345678901234567890123, "b":1}}"#).unwrap();
        let raw = object.raw("inner").unwrap().unwrap();
        assert_eq!(raw.as_str(), r#"{"big":12345678901234567890123, "b":1}"#);
    }

    #[test]
    fn malformed_bodies_are_errors() {
        for text in [
            "",
            "  ",
            "not a json",
            "{",
            r#"{"status""#,
            r#"{"status":}"#,
            "nul",
            "{\"a\":\u{1}}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(
            read(&format!("{{\"inner\":{deep}")).err(),
            Some(JsonError::TooDeep)
        );
        let text = format!("{{\"inner\":{}{}}}", "[".repeat(99), "]".repeat(99));
        assert!(
            read(&text)
                .unwrap()
                .raw("inner")
                .unwrap()
                .unwrap()
                .read::<serde_json::Value>()
                .is_ok()
        );
        assert!(check_depth(r#"{"a":"[[[[\"[[["}"#).is_ok());
    }

    #[test]
    fn an_item_of_another_type_has_no_members() {
        let object = read(r#"{"things":[{"status":"x"},7,null]}"#).unwrap();
        assert_eq!(object.count("things"), Some(3));
        let items = object.items("things").unwrap().unwrap();
        let statuses: Vec<_> = items
            .iter()
            .map(|raw| item(raw, &NAMES).text("status").unwrap())
            .collect();
        assert_eq!(statuses, [Some("x".to_owned()), None, None]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\PC\\n\\t]{0,80}") {
            if let Ok(object) = read(&text) {
                let _ = (object.text("status"), object.integer("count"), object.raw("inner"), object.items("things"));
            }
        }

        #[test]
        fn json_like_text_never_panics(text in r#"(\{|\}|\[|\]|"|:|,|null|status|1|\\| ){0,40}"#) {
            if let Ok(object) = read(&text) {
                let _ = (object.text("status"), object.integer("count"), object.raw("inner"), object.items("things"));
            }
        }

        /// What serde_json reads, this reads alike.
        #[test]
        fn agrees_with_a_strict_reader(status in ".{0,20}", count in any::<i64>()) {
            let text = serde_json::json!({ "status": status, "count": count }).to_string();
            let object = read(&text).unwrap();
            prop_assert_eq!(object.text("status").unwrap(), Some(status));
            prop_assert_eq!(object.integer("count").unwrap(), Some(count));
        }
    }
}
