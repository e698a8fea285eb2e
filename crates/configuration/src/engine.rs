//! The general machinery: declarations of keys ([`section`]), one tree of what files and flags set ([`layers`]),
//! references in it ([`substitute`]), and typed sections from it ([`reader`]). It knows no key of this server.

pub(crate) mod kind;
pub(crate) mod layers;
pub(crate) mod place;
pub(crate) mod problem;
pub(crate) mod quantity;
pub(crate) mod reader;
pub(crate) mod redaction;
pub(crate) mod reference;
pub(crate) mod schema;
pub(crate) mod secret;
pub(crate) mod section;
pub(crate) mod setting;
pub(crate) mod show;
pub(crate) mod substitute;
pub(crate) mod written;
