//! Structs that are read from JSON objects and from nothing else.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that is read from an object only. Serde's derive takes an array of the members as well, in the order in which
/// they happen to be declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FromObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyObject<T> {
            type Value = FromObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(FromObject)
            }
        }

        deserializer.deserialize_map(OnlyObject(PhantomData))
    }
}

impl<T> Deref for FromObject<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for FromObject<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Person {
        name: String,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[test]
    fn an_object_is_read_and_nothing_else() {
        let read = serde_json::from_str::<FromObject<Person>>;
        let person = read(r#"{"name":"a","tags":["b"]}"#).unwrap();
        assert_eq!((person.name.as_str(), person.tags.len()), ("a", 1));
        for text in ["[]", r#"["a"]"#, r#"["a",["b"]]"#, r#""a""#, "1", "null", "true"] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains("expected an object"), "{text}: {refused}");
        }
        // What serde does by itself.
        assert!(serde_json::from_str::<Person>(r#"["a",["b"]]"#).is_ok());
    }
}
