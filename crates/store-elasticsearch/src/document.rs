//! One document as its members, each kept as the text that Elasticsearch or an agent gave.
//!
//! In: the source of a document, or nothing. Out: the source to be written. Members that are not ours stay as they are:
//! Kibana and newer releases write some that this server does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use store::{RawJson, Timestamp};

use crate::Failure;

/// The members of a document, or of an object within one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Members(BTreeMap<String, RawJson>);

impl Members {
    /// Sets the member.
    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let value = RawJson::from_value(value).map_err(unwritable)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Sets the member if there is a value; else it stays as it is.
    pub(crate) fn set_some(&mut self, name: &str, value: Option<&impl Serialize>) -> Result<(), Failure> {
        value.map_or(Ok(()), |value| self.set(name, value))
    }

    /// Sets a member of the object `outer`, which is made if it is missing or no object.
    pub(crate) fn set_in(&mut self, outer: &str, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let mut inner: Self = self
            .0
            .get(outer)
            .and_then(|raw| raw.read().ok())
            .unwrap_or_default();
        inner.set(name, value)?;
        self.set(outer, &inner)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// A time as the documents have it: whole seconds.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_seconds_text()
}

/// A time that somebody else may have written: text or milliseconds; anything else counts as absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment(pub(crate) Option<Timestamp>);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            match Value::deserialize(deserializer).map_err(D::Error::custom)? {
                Value::String(text) => Timestamp::parse(&text),
                Value::Number(number) => number.as_i64().map(Timestamp::from_millis),
                _ => None,
            },
        ))
    }
}

/// A member that may be `null`, which counts as absent.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

pub(crate) fn unwritable(error: serde_json::Error) -> Failure {
    Failure::Unwritable {
        source: store::Cause::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_others_stay_byte_for_byte() {
        let text =
            r#"{"agent":{"id":"a","version":"9.5.0"},"big":9007199254740993,"of_others":{"z":1.50,"a":[]}}"#;
        let mut members: Members = serde_json::from_str(text).unwrap();
        members.set_in("agent", "version", &"9.6.0").unwrap();
        members.set_in("upgrade", "rollbacks", &[1]).unwrap();
        members.set("active", &true).unwrap();
        members.remove("big");
        let written = serde_json::to_string(&members).unwrap();
        assert_eq!(
            written,
            r#"{"active":true,"agent":{"id":"a","version":"9.6.0"},"of_others":{"z":1.50,"a":[]},"upgrade":{"rollbacks":[1]}}"#
        );
    }

    #[test]
    fn a_time_is_text_or_milliseconds() {
        let read = |text: &str| serde_json::from_str::<Moment>(text).unwrap().0;
        assert_eq!(read(r#""2026-01-01T00:00:00Z""#), read("1767225600000"));
        assert!(read("1767225600000").is_some());
        for other in ["null", "true", "{}", r#""soon""#, "1.5"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
