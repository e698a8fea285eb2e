//! One declaration per key: [`section!`] makes the struct, its `Default` and one walk over its keys. Whatever needs
//! the keys (the reader, the schema, the reference, `config show`) is a [`Visit`] of that walk, so they cannot diverge.
//!
//! ```text
//! section! {
//!     /// How long things may take.
//!     pub struct Timeouts {
//!         keys {
//!             /// Effect, as the reference and the docs show it.
//!             read: Duration = seconds(60);
//!             key_length: u32 = 32, unit "bytes", check at_least(14);
//!             hosts: Vec<String> = Vec::new(), only "names the output of the default policy";
//!         }
//!         sections {
//!             /// What the part is for.
//!             ssl: Option<Ssl>;
//!         }
//!     }
//! }
//! ```
//!
//! The doc comment is the effect, the expression the default, the type what is allowed (and the unit). A key that
//! has no effect yet is a line of `inert`, and moves here with its feature.

use super::setting::Setting;

/// The declaration of a key or a section, apart from its type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Declared {
    /// The last part of its path.
    pub name: &'static str,
    /// Its effect, from the doc comment.
    pub about: &'static str,
    /// The unit of a bare number, if the type does not say.
    pub unit: Option<&'static str>,
    /// The only effect that it has, if it has less than in the original.
    pub only: Option<&'static str>,
}

/// How often a section occurs in its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Once, with defaults.
    Always,
    /// As the one item of a list, with defaults.
    One,
    /// Only if written.
    Optional,
    /// As a list of any length.
    List,
}

/// A struct made by [`section!`].
pub(crate) trait Section: Default + Clone {
    /// Passes each key and part to `visit`, in the order of the declaration.
    fn walk<V: Visit>(&mut self, visit: &mut V);
}

/// An operation over each key and part.
pub(crate) trait Visit {
    /// A key, its value, and a check beyond its type: `Err` completes "KEY must be …".
    fn key<T: Setting>(
        &mut self,
        declared: &Declared,
        value: &mut T,
        check: &dyn Fn(&T) -> Result<(), String>,
    );
    /// A part, whose items the visitor walks.
    fn part<P: Part>(&mut self, declared: &Declared, part: &mut P);
}

/// A field that holds sections.
pub(crate) trait Part {
    /// The sections that it holds.
    type Item: Section;
    /// How often the section occurs.
    const PRESENCE: Presence;
    /// Makes it hold `count` sections with their defaults; one that is always there stays as it is.
    fn resize(&mut self, count: usize);
    /// The sections that it holds.
    fn items(&mut self) -> &mut [Self::Item];
}

impl<S: Section> Part for S {
    type Item = S;
    const PRESENCE: Presence = Presence::Always;
    fn resize(&mut self, _: usize) {}
    fn items(&mut self) -> &mut [S] {
        std::slice::from_mut(self)
    }
}

/// A list that holds exactly one section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct One<S>(pub S);

impl<S: Section> Part for One<S> {
    type Item = S;
    const PRESENCE: Presence = Presence::One;
    fn resize(&mut self, _: usize) {}
    fn items(&mut self) -> &mut [S] {
        std::slice::from_mut(&mut self.0)
    }
}

impl<S: Section> Part for Option<S> {
    type Item = S;
    const PRESENCE: Presence = Presence::Optional;
    fn resize(&mut self, count: usize) {
        *self = (count > 0).then(S::default);
    }
    fn items(&mut self) -> &mut [S] {
        self.as_mut_slice()
    }
}

impl<S: Section> Part for Vec<S> {
    type Item = S;
    const PRESENCE: Presence = Presence::List;
    fn resize(&mut self, count: usize) {
        Self::resize(self, count, S::default());
    }
    fn items(&mut self) -> &mut [S] {
        self
    }
}

/// From `least` to `most`.
pub(crate) fn between<T: PartialOrd + std::fmt::Display>(
    least: T,
    most: T,
) -> impl Fn(&T) -> Result<(), String> {
    move |value| match *value >= least && *value <= most {
        true => Ok(()),
        false => Err(format!("from {least} to {most}")),
    }
}

/// At least `least`.
pub(crate) fn at_least<T: PartialOrd + std::fmt::Display>(least: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| match *value >= least {
        true => Ok(()),
        false => Err(format!("at least {least}")),
    }
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( keys { $(
                $(#[doc = $doc:literal])+
                $field:ident $(as $word:literal)? : $type:ty = $default:expr
                    $(, unit $unit:literal)? $(, only $only:literal)? $(, check $check:expr)? ;
            )* } )?
            $( sections { $(
                $(#[doc = $part_doc:literal])+
                $part:ident $(as $part_word:literal)? : $part_type:ty ;
            )* } )?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($( $(#[doc = $doc])+ pub $field: $type, )*)?
            $($( $(#[doc = $part_doc])+ pub $part: $part_type, )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($( $field: $default, )*)? $($( $part: Default::default(), )*)? }
            }
        }

        impl $crate::engine::section::Section for $name {
            fn walk<V: $crate::engine::section::Visit>(&mut self, visit: &mut V) {
                $($( visit.key(
                    &$crate::engine::section::Declared {
                        name: section!(@name $field $($word)?),
                        about: concat!($($doc, "\n"),+),
                        unit: section!(@some $($unit)?),
                        only: section!(@some $($only)?),
                    },
                    &mut self.$field,
                    section!(@check $($check)?),
                ); )*)?
                $($( visit.part(
                    &$crate::engine::section::Declared {
                        name: section!(@name $part $($part_word)?),
                        about: concat!($($part_doc, "\n"),+),
                        ..Default::default()
                    },
                    &mut self.$part,
                ); )*)?
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $word:literal) => { $word };
    (@some) => { None };
    (@some $value:literal) => { Some($value) };
    (@check) => { &|_| Ok(()) };
    (@check $check:expr) => { &$check };
}
pub(crate) use section;
