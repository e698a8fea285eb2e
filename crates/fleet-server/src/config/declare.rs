//! One declaration per key: [`section!`] makes the struct, its `Default`, the reader and the entry of the
//! reference from it, so that none of them can drift from another.
//!
//! ```text
//! section! {
//!     /// Time-outs of the agents' listeners.
//!     pub struct Timeouts {
//!         keys {
//!             /// Effect, as the reference and the docs show it.
//!             read: Duration = seconds(60) => EFFECTIVE;
//!             key_length: u32 = 32 => EFFECTIVE, unit "bytes", check at_least(14);
//!         }
//!         sections {
//!             /// What the part is for.
//!             ssl: Option<Ssl>;
//!         }
//!     }
//! }
//! ```
//!
//! The doc comment is the effect, the expression the default, the type what is allowed (and the unit). To make a
//! key count once its feature exists, change `INERT` to `EFFECTIVE`.

use super::{read::Reader, schema::Schema, setting::Shown};

/// Whether a key does anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does what it says.
    Effective,
    /// It is checked and then not used; a start-up warning says so.
    Inert,
    /// It is used for less than its meaning in the original: the words say for what.
    Partly(&'static str),
}

/// See [`State::Effective`].
pub const EFFECTIVE: State = State::Effective;
/// See [`State::Inert`].
pub const INERT: State = State::Inert;

/// A struct made by [`section!`].
pub trait Section: Default + Sized {
    /// Adds its keys and parts to the schema.
    fn describe(schema: &mut Schema);
    /// Reads itself; what is wrong goes to the reader, and the default takes its place.
    fn read(from: &mut Reader<'_, '_>) -> Self;
    /// Its values, secrets redacted, in the order of the declaration.
    fn shown(&self) -> Vec<(String, Shown)>;
}

/// A place in a struct that holds a section: always, perhaps, or several times.
pub trait Part: Sized + Default {
    /// Adds it to the schema under `name`.
    fn describe_as(name: &str, about: &str, schema: &mut Schema);
    /// Reads it from `name`.
    fn read_from(name: &str, from: &mut Reader<'_, '_>) -> Self;
    /// Its values; `None` when there is no such section.
    fn shown_part(&self) -> Option<Shown>;
}

impl<S: Section> Part for S {
    fn describe_as(name: &str, about: &str, schema: &mut Schema) {
        schema.section(name, about, super::schema::Presence::Always, S::describe);
    }
    fn read_from(name: &str, from: &mut Reader<'_, '_>) -> Self {
        from.inside(name, S::read)
    }
    fn shown_part(&self) -> Option<Shown> {
        Some(Shown::Map(self.shown()))
    }
}

impl<S: Section> Part for Option<S> {
    fn describe_as(name: &str, about: &str, schema: &mut Schema) {
        schema.section(name, about, super::schema::Presence::Optional, S::describe);
    }
    fn read_from(name: &str, from: &mut Reader<'_, '_>) -> Self {
        from.inside_if_present(name, S::read)
    }
    fn shown_part(&self) -> Option<Shown> {
        self.as_ref().map(|section| Shown::Map(section.shown()))
    }
}

impl<S: Section> Part for Vec<S> {
    fn describe_as(name: &str, about: &str, schema: &mut Schema) {
        schema.section(name, about, super::schema::Presence::List, S::describe);
    }
    fn read_from(name: &str, from: &mut Reader<'_, '_>) -> Self {
        from.inside_each(name, S::read)
    }
    fn shown_part(&self) -> Option<Shown> {
        Some(Shown::List(
            self.iter().map(|section| Shown::Map(section.shown())).collect(),
        ))
    }
}

/// A check beyond the type: `Err` completes "KEY must be …".
pub type Check<T> = dyn Fn(&T) -> Result<(), String>;

/// At least `least`.
pub fn at_least<T: PartialOrd + std::fmt::Display>(least: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if *value >= least {
            Ok(())
        } else {
            Err(format!("at least {least}"))
        }
    }
}

/// From `least` to `most`.
pub fn between<T: PartialOrd + std::fmt::Display>(least: T, most: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if *value >= least && *value <= most {
            Ok(())
        } else {
            Err(format!("from {least} to {most}"))
        }
    }
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            keys { $(
                $(#[doc = $doc:literal])+
                $field:ident $(as $word:literal)? : $type:ty = $default:expr => $state:expr
                    $(, unit $unit:literal)? $(, check $check:expr)? ;
            )* }
            sections { $(
                $(#[doc = $part_doc:literal])+
                $part:ident $(as $part_word:literal)? : $part_type:ty ;
            )* }
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $( $(#[doc = $part_doc])+ pub $part: $part_type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* $( $part: Default::default(), )* }
            }
        }

        impl $crate::config::declare::Section for $name {
            fn describe(schema: &mut $crate::config::schema::Schema) {
                // A section may hold only parts: then nothing asks for the default.
                let _default = Self::default();
                $( schema.key(
                    section!(@name $field $($word)?),
                    concat!($($doc, "\n"),+),
                    $state,
                    None $(.or(Some($unit)))?,
                    &_default.$field,
                ); )*
                $( <$part_type as $crate::config::declare::Part>::describe_as(
                    section!(@name $part $($part_word)?),
                    concat!($($part_doc, "\n"),+),
                    schema,
                ); )*
            }

            fn read(from: &mut $crate::config::read::Reader<'_, '_>) -> Self {
                // A section may hold only parts: then nothing asks for the default.
                let _default = Self::default();
                Self {
                    $( $field: from.key(section!(@name $field $($word)?), _default.$field, &[$(&$check)?]), )*
                    $( $part: <$part_type as $crate::config::declare::Part>::read_from(
                        section!(@name $part $($part_word)?), from,
                    ), )*
                }
            }

            fn shown(&self) -> Vec<(String, $crate::config::setting::Shown)> {
                let mut entries = Vec::new();
                $( if let Some(shown) = $crate::config::setting::Setting::shown(&self.$field) {
                    entries.push((section!(@name $field $($word)?).to_owned(), shown));
                } )*
                $( if let Some(shown) = $crate::config::declare::Part::shown_part(&self.$part) {
                    entries.push((section!(@name $part $($part_word)?).to_owned(), shown));
                } )*
                entries
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $word:literal) => { $word };
}
pub(crate) use section;
