//! A value that one key holds: how it is read from text, what is allowed, and how it is written back.

use std::path::PathBuf;

use config::{Value, ValueKind};

use super::redaction::without_userinfo;

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not what [`Setting::allowed`] says.
    Unfit,
    /// Completes "KEY must be …".
    MustBe(String),
    Because(String),
}

/// A value as it is written into YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A number, a boolean, a duration: written bare.
    Bare(String),
    /// Text, quoted where YAML needs it.
    Text(String),
    /// Items in order.
    List(Vec<Self>),
    /// Names with values, in order.
    Map(Vec<(String, Self)>),
}

/// The shape of a value, which decides how a flag or an environment variable is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    /// A list: `a,b` is two items.
    List,
    /// Names that belong to the operator.
    Map,
}

/// A type that a key can hold.
pub(crate) trait Setting: Sized + Clone {
    /// Decides how text from flags and variables is split.
    const SHAPE: Shape = Shape::Single;
    /// Whether error texts may show what was found.
    const IS_SECRET: bool = false;
    /// Whether surrounding white space is part of the value.
    const KEEPS_SPACE: bool = false;
    /// The unit of a bare number, or nothing.
    const UNIT: &str = "";

    /// What is allowed, completing "must be …".
    fn allowed() -> String;
    fn from_text(text: &str) -> Result<Self, Refusal>;
    /// Reads a value of any shape.
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            ValueKind::String(text) if Self::KEEPS_SPACE => Self::from_text(text),
            ValueKind::String(text) => Self::from_text(text.trim()),
            _ => Err(Refusal::Unfit),
        }
    }
    /// To YAML; `None`: not set. Secrets are redacted.
    fn shown(&self) -> Option<Shown>;
}

/// A single value: `setting!(TYPE [unit "bytes"], "what is allowed", from text, to Shown)`. What is read is an
/// `Option`, whose `None` means unfit, or a `Result` with the refusal.
macro_rules! setting {
    ($type:ty $([unit $unit:literal])?, $allowed:expr, $read:expr, $show:expr $(,)?) => {
        impl $crate::engine::setting::Setting for $type {
            $( const UNIT: &str = $unit; )?
            fn allowed() -> String {
                String::from($allowed)
            }
            fn from_text(text: &str) -> Result<Self, $crate::engine::setting::Refusal> {
                let read: fn(&str) -> _ = $read;
                $crate::engine::setting::Read::end(read(text))
            }
            fn shown(&self) -> Option<$crate::engine::setting::Shown> {
                let show: fn(&Self) -> $crate::engine::setting::Shown = $show;
                Some(show(self))
            }
        }
    };
}
pub(crate) use setting;

/// The results that a reading function of [`setting!`] may have.
pub(crate) trait Read<T> {
    fn end(self) -> Result<T, Refusal>;
}

impl<T> Read<T> for Option<T> {
    fn end(self) -> Result<T, Refusal> {
        self.ok_or(Refusal::Unfit)
    }
}

impl<T> Read<T> for Result<T, Refusal> {
    fn end(self) -> Self {
        self
    }
}

/// A key that takes one of a few words: `choice!(TYPE, Variant = "word" | "other word", …)`. The first word is the
/// one written.
macro_rules! choice {
    ($type:ty, $( $variant:ident = $word:literal $(| $other:literal)* ),+ $(,)?) => {
        $crate::engine::setting::setting!(
            $type,
            format!("one of {}", [$( $word ),+].join(", ")),
            |text| {
                $( if [$word $(, $other)*].iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    return Some(<$type>::$variant);
                } )+
                None
            },
            |value| $crate::engine::setting::Shown::Text(match value { $( <$type>::$variant => $word ),+ }.to_owned())
        );
    };
}
pub(crate) use choice;

/// The value as error texts quote it: cut, and hidden if it is a secret.
pub(crate) fn found(value: &Value, is_secret: bool) -> String {
    match &value.kind {
        _ if is_secret => "something else".to_owned(),
        ValueKind::String(text) => {
            let text = without_userinfo(text);
            let shown: String = text.chars().take(60).collect();
            let cut = if shown.len() < text.len() { "…" } else { "" };
            format!("`{}{cut}`", shown.escape_debug())
        }
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        _ => "nothing".to_owned(),
    }
}

setting!(
    PathBuf,
    "a path",
    |text| (!text.is_empty()).then(|| text.into()),
    |path| { Shown::Text(path.display().to_string()) }
);
setting!(
    bool,
    "true or false",
    |text| match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    },
    |value| Shown::Bare(value.to_string())
);

macro_rules! integers {
    ($($type:ty),*) => { $(
        setting!(
            $type,
            format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX),
            |text| text.replace('_', "").parse().ok(),
            |value| Shown::Bare(value.to_string())
        );
    )* };
}
integers!(u16, u32, u64, i64);

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

/// A key that may be unset. Empty text is unset too.
impl<T: Setting> Setting for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const IS_SECRET: bool = T::IS_SECRET;
    const KEEPS_SPACE: bool = T::KEEPS_SPACE;
    const UNIT: &str = T::UNIT;
    fn allowed() -> String {
        T::allowed()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "" => Ok(None),
            text => T::from_text(text).map(Some),
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
    const UNIT: &str = T::UNIT;
    fn allowed() -> String {
        T::allowed()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "" => Ok(Self::new()),
            text => Ok(vec![T::from_text(text)?]),
        }
    }
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        let items = match &value.kind {
            ValueKind::Array(items) => items.iter().collect(),
            ValueKind::Table(table) => items_by_index(table)?,
            ValueKind::String(text) if text.is_empty() => Vec::new(),
            _ => return Ok(vec![T::from_value(value)?]),
        };
        let read = items.into_iter().enumerate().map(|(index, item)| {
            T::from_value(item).map_err(|refusal| {
                let allowed = match refusal {
                    Refusal::Unfit => T::allowed(),
                    Refusal::MustBe(allowed) => allowed,
                    because => return because,
                };
                let found = found(item, T::IS_SECRET);
                Refusal::Because(format!("item {index} must be {allowed}, found {found}"))
            })
        });
        read.collect()
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::List(self.iter().filter_map(T::shown).collect()))
    }
}

/// `hosts.0`, `hosts.1`: a list that was given item by item.
pub(crate) fn items_by_index(table: &config::Map<String, Value>) -> Result<Vec<&Value>, Refusal> {
    let item = |index: usize| {
        table.get(&index.to_string()).ok_or_else(|| {
            Refusal::Because(format!(
                "items given one by one are numbered from 0 without a gap; {index} is missing"
            ))
        })
    };
    (0..table.len()).map(item).collect()
}
