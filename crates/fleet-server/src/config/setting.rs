//! A value that one key holds: how it is read from text, what is allowed, and how it is written back.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use config::{Value, ValueKind};

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Completes "KEY must be …".
    MustBe(String),
    /// A sentence of its own.
    Because(String),
}

/// A value as it is written into YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A number, a boolean, a duration: written bare.
    Bare(String),
    /// Text, quoted where YAML needs it.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// Names with values.
    Map(Vec<(String, Self)>),
}

/// The shape of a value, which decides how a flag or an environment variable is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    Single,
    /// A list: `a,b` is two items.
    List,
    /// Names that belong to the operator.
    Map,
}

/// A type that a key can hold.
pub trait Setting: Sized + Clone {
    /// Its shape.
    const SHAPE: Shape = Shape::Single;
    /// Whether error texts may show what was found.
    const IS_SECRET: bool = false;
    /// Whether text is already what it must be; otherwise white space around a value is no part of it.
    const KEEPS_SPACE: bool = false;

    /// What is allowed, completing "must be …".
    fn allowed() -> String;
    /// The unit a bare number has, or nothing.
    fn unit() -> &'static str {
        ""
    }
    /// From text.
    fn from_text(text: &str) -> Result<Self, Refusal>;
    /// From a value of any shape.
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            ValueKind::String(text) if Self::KEEPS_SPACE => Self::from_text(text),
            ValueKind::String(text) => Self::from_text(text.trim()),
            _ => Err(Refusal::MustBe(Self::allowed())),
        }
    }
    /// To YAML; `None` is "not set". Secrets are redacted.
    fn shown(&self) -> Option<Shown>;
}

/// Refuses with what is allowed.
pub fn must_be<T: Setting>() -> Refusal {
    Refusal::MustBe(T::allowed())
}

/// What stands there, for an error text.
pub fn found(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => {
            let text = super::secret::without_userinfo(text);
            let shown: String = text.chars().take(60).collect();
            let cut = if shown.len() < text.len() { "…" } else { "" };
            format!("`{}{cut}`", shown.escape_debug())
        }
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        other => format!("`{other}`"),
    }
}

impl Setting for String {
    const KEEPS_SPACE: bool = true;
    fn allowed() -> String {
        "a text".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        Ok(text.to_owned())
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Text(self.clone()))
    }
}

impl Setting for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            Err(must_be::<Self>())
        } else {
            Ok(Self::from(text))
        }
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Text(self.display().to_string()))
    }
}

impl Setting for bool {
    fn allowed() -> String {
        "true or false".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(must_be::<Self>()),
        }
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.to_string()))
    }
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl Setting for $type {
            fn allowed() -> String {
                format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX)
            }
            fn from_text(text: &str) -> Result<Self, Refusal> {
                let digits = text.replace('_', "");
                digits.parse().map_err(|_| must_be::<Self>())
            }
            fn shown(&self) -> Option<Shown> {
                Some(Shown::Bare(self.to_string()))
            }
        }
    )* };
}
integers!(u16, u32, u64, i64);

/// A key that may be unset. Empty text is unset too.
impl<T: Setting> Setting for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const IS_SECRET: bool = T::IS_SECRET;
    const KEEPS_SPACE: bool = T::KEEPS_SPACE;
    fn allowed() -> String {
        T::allowed()
    }
    fn unit() -> &'static str {
        T::unit()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::from_text(text).map(Some)
        }
    }
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            ValueKind::String(text) if text.is_empty() => Ok(None),
            _ => T::from_value(value).map(Some),
        }
    }
    fn shown(&self) -> Option<Shown> {
        self.as_ref().and_then(T::shown)
    }
}

/// A list; a single value is a list of one.
impl<T: Setting> Setting for Vec<T> {
    const SHAPE: Shape = Shape::List;
    const IS_SECRET: bool = T::IS_SECRET;
    fn allowed() -> String {
        format!("a list; each item {}", T::allowed())
    }
    fn unit() -> &'static str {
        T::unit()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            Ok(Self::new())
        } else {
            Ok(vec![T::from_text(text)?])
        }
    }
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            ValueKind::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| list_item(index, item))
                .collect(),
            ValueKind::Table(table) => items_by_index(table)?
                .into_iter()
                .enumerate()
                .map(|(index, item)| list_item(index, item))
                .collect(),
            ValueKind::String(text) if text.is_empty() => Ok(Self::new()),
            _ => Ok(vec![T::from_value(value)?]),
        }
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::List(self.iter().filter_map(T::shown).collect()))
    }
}

/// One item; what is wrong with it names it.
fn list_item<T: Setting>(index: usize, item: &Value) -> Result<T, Refusal> {
    T::from_value(item).map_err(|refusal| match refusal {
        Refusal::MustBe(allowed) => {
            let found = if T::IS_SECRET {
                "something else".to_owned()
            } else {
                found(item)
            };
            Refusal::Because(format!("item {index} must be {allowed}, found {found}"))
        }
        because => because,
    })
}

/// `hosts.0`, `hosts.1`: a list that was given item by item.
pub fn items_by_index(table: &config::Map<String, Value>) -> Result<Vec<&Value>, Refusal> {
    (0..table.len())
        .map(|index| {
            table.get(&index.to_string()).ok_or_else(|| {
                Refusal::Because(format!(
                    "items given one by one are numbered from 0 without a gap; {index} is missing"
                ))
            })
        })
        .collect()
}

/// Names and values that belong to the operator: HTTP headers, labels.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names(pub BTreeMap<String, String>);

impl Names {
    /// `http-api` 3.5: a header whose name says so is a secret.
    fn is_secret(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        ["auth", "token", "key", "bearer"]
            .iter()
            .any(|word| name.contains(word))
    }

    fn redacted(&self) -> impl Iterator<Item = (&String, &str)> {
        self.0.iter().map(|(name, value)| {
            (
                name,
                if Self::is_secret(name) {
                    "[redacted]"
                } else {
                    value.as_str()
                },
            )
        })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}

impl Setting for Names {
    const SHAPE: Shape = Shape::Map;
    const IS_SECRET: bool = true;
    fn allowed() -> String {
        "a map of names and texts".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            Ok(Self::default())
        } else {
            Err(must_be::<Self>())
        }
    }
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        let ValueKind::Table(table) = &value.kind else {
            return value
                .clone()
                .into_string()
                .map_err(|_| must_be::<Self>())
                .and_then(|text| Self::from_text(&text));
        };
        let mut names = BTreeMap::new();
        for (name, value) in table {
            let text = String::from_value(value).map_err(|_| must_be::<Self>())?;
            names.insert(name.clone(), text);
        }
        Ok(Self(names))
    }
    fn shown(&self) -> Option<Shown> {
        let entries = self
            .redacted()
            .map(|(name, value)| (name.clone(), Shown::Text(value.to_owned())));
        Some(Shown::Map(entries.collect()))
    }
}
