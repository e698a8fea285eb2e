//! Errors and notices about a configuration, each with what is allowed and a hint. The place is kept beside them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use super::place::{Place, Places};

/// One error in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("cannot read the configuration file {path}: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("this is not valid YAML: {reason}")]
    Syntax { reason: String },
    #[error("a configuration is a list of `key: value` lines, not {found}")]
    NotAMap { found: &'static str },
    #[error("{key} is set twice, first at {first}")]
    Duplicate { key: String, first: Place },
    #[error("`{key}` is not a configuration key")]
    BadKey { key: String },
    #[error("unknown key {key}")]
    UnknownKey { key: String, nearest: Option<String> },
    /// The value does not fit the key. `found` is never a secret.
    #[error("{key} must be {allowed}, found {found}")]
    Value {
        key: String,
        allowed: String,
        found: String,
    },
    #[error("{key}: {sentence}")]
    Refused { key: String, sentence: String },
    #[error("{key}: {address} cannot be listened on, since {other} ({first}) asks for {other_address}")]
    SameAddress {
        key: String,
        address: String,
        other: String,
        other_address: String,
        first: Place,
    },
    #[error("{key} is missing: {why}")]
    Missing { key: String, why: &'static str },
    #[error("{key}: ${{{name}}} is neither a configuration key nor a set environment variable")]
    Unresolved { key: String, name: String },
}

impl Problem {
    /// The key whose value it is about.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Value { key, .. } | Self::Refused { key, .. } | Self::SameAddress { key, .. } => Some(key),
            Self::Unreadable { .. }
            | Self::Syntax { .. }
            | Self::NotAMap { .. }
            | Self::Duplicate { .. }
            | Self::BadKey { .. }
            | Self::UnknownKey { .. }
            | Self::Missing { .. }
            | Self::Unresolved { .. } => None,
        }
    }

    /// The remedy, unless the text already says it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => {
                Some("name the file with -c FILE, or write one from fleet-server.reference.yml".to_owned())
            }
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean {nearest}?")),
            Self::UnknownKey { nearest: None, .. } | Self::BadKey { .. } => {
                Some("`fleet-server config reference --output -` lists every key".to_owned())
            }
            Self::SameAddress { .. } => Some("give each listener a port of its own".to_owned()),
            Self::Unresolved { name, .. } => Some(format!(
                "set {name}, or give a default: ${{{name}:default}}; a literal `${{` is `$${{`"
            )),
            Self::Syntax { .. }
            | Self::NotAMap { .. }
            | Self::Duplicate { .. }
            | Self::Value { .. }
            | Self::Refused { .. }
            | Self::Missing { .. } => None,
        }
    }
}

/// Everything that is wrong, in the order of the files and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<(Place, Problem)>,
    /// What explains some of them.
    notices: Vec<Notice>,
}

impl ConfigErrors {
    fn hint(&self, problem: &Problem) -> Option<String> {
        let explained = || {
            let key = problem.key()?;
            let about =
                |notice: &&Notice| matches!(notice, Notice::DashedDefault { key: of, .. } if of == key);
            let told = self.notices.iter().find(about)?.to_string();
            // The problem begins with the key already.
            Some(told.trim_start_matches(key).trim_start_matches(": ").to_owned())
        };
        problem.hint().or_else(explained)
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, problem)) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match problem {
                Problem::Unreadable { .. } => write!(OneLine(f), "{problem}")?,
                _ => write!(OneLine(f), "{place}: {problem}")?,
            }
            if let Some(hint) = self.hint(problem) {
                f.write_str("\n  hint: ")?;
                OneLine(f).write_str(&hint)?;
            }
        }
        Ok(())
    }
}

/// Keys and values of files and flags stand in messages: what would end the line or move a terminal's cursor is
/// escaped.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            if c.is_control() {
                write!(self.0, "{}", c.escape_default())
            } else {
                self.0.write_char(c)
            }
        })
    }
}

/// Collects the findings while a configuration is read: reading does not stop at the first problem.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) places: Places,
    pub(crate) notices: Vec<Notice>,
    /// What keys took from the environment: the names of its variables, by dotted path.
    pub(crate) variables: BTreeMap<String, Vec<String>>,
    problems: Vec<(Place, Problem)>,
}

impl Report {
    /// Where the value of this key comes from, if somebody said it: its place, and variables that are in it.
    pub(crate) fn origin(&self, path: &str) -> Option<String> {
        let place = self.places.exactly(path)?;
        Some(match self.variables.get(path) {
            None => place.to_string(),
            Some(names) => format!("{place}, environment: {}", names.join(", ")),
        })
    }
}

impl Report {
    pub(crate) fn add(&mut self, place: Place, problem: Problem) {
        self.problems.push((place, problem));
    }

    pub(crate) fn refuse(&mut self, key: &str, sentence: impl Into<String>) {
        let (key, sentence) = (key.to_owned(), sentence.into());
        self.add(self.places.of(&key), Problem::Refused { key, sentence });
    }

    pub(crate) fn missing(&mut self, key: String, why: &'static str) {
        self.add(self.places.of(&key), Problem::Missing { key, why });
    }

    pub(crate) fn deprecated(&mut self, key: &str, instead: &'static str) {
        if self.places.has(key) {
            let key = key.to_owned();
            self.notices.push(Notice::Deprecated { key, instead });
        }
    }

    pub(crate) fn end(mut self) -> Result<Vec<Notice>, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(self.notices);
        }
        self.problems.sort_by(|(one, _), (other, _)| one.cmp(other));
        // An unusable value may be a default that was meant otherwise.
        self.notices
            .retain(|notice| matches!(notice, Notice::DashedDefault { .. }));
        Err(ConfigErrors {
            problems: self.problems,
            notices: self.notices,
        })
    }
}

/// A warning or a note about a configuration that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum Notice {
    #[error("has no effect in this version: {}", .0.join(", "))]
    NoEffect(Vec<String>),
    /// A shell writes a default with `:-`; here the dash belongs to the default. The default may be a secret.
    #[error(
        "{key}: the default of ${{{name}:-…}} begins with the dash, as in the original; write ${{{name}:…}} if it is \
         the shell's `:-` that was meant"
    )]
    DashedDefault { key: String, name: String },
    #[error("{key} is deprecated: {instead}")]
    Deprecated { key: String, instead: &'static str },
    #[error(
        "the limits for {max_agents} agents are made for {recommended_mib} MiB of memory, but there are \
         {available_mib} MiB: lower inputs.0.server.limits.max_agents or give more memory"
    )]
    LittleMemory {
        max_agents: i64,
        recommended_mib: u64,
        available_mib: u64,
    },
    #[error("agents are served over plain HTTP, their keys can be read on the way: set inputs.0.server.ssl")]
    PlainHttp,
    #[error("{key}: {consequence}")]
    Weak { key: String, consequence: &'static str },
}
