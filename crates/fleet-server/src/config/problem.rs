//! What can be wrong with a configuration, each with its place, what is allowed, and a hint.

use std::{fmt, path::PathBuf};

use super::place::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file can not be read.
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Not YAML.
    #[error("{place}: this is not valid YAML: {reason}")]
    Syntax {
        /// Where the parser stopped.
        place: Place,
        /// Why.
        reason: String,
    },
    /// The whole file is something else than keys and values.
    #[error("{place}: a configuration is a list of `key: value` lines, not {found}")]
    NotAMap {
        /// Where it starts.
        place: Place,
        /// What stands there.
        found: &'static str,
    },
    /// One key, two values.
    #[error("{place}: {key} is set twice, first at {first}")]
    Duplicate {
        /// The second.
        place: Place,
        /// The dotted key.
        key: String,
        /// The first.
        first: Place,
    },
    /// A `-E` that has no usable key.
    #[error("{place}: `{key}` is not a configuration key")]
    BadKey {
        /// The flag.
        place: Place,
        /// What stands before the equals sign.
        key: String,
    },
    /// A key that nobody declared.
    #[error("{place}: unknown key {key}")]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// The value does not fit the key.
    #[error("{place}: {key} must be {allowed}, found {found}")]
    Value {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// What would fit.
        allowed: String,
        /// What stands there; never a secret.
        found: String,
    },
    /// The value is refused for a reason that needs a sentence.
    #[error("{place}: {key}: {sentence}")]
    Refused {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// Why, and what to do.
        sentence: String,
    },
    /// A key without which a section makes no sense.
    #[error("{place}: {key} is missing: {why}")]
    Missing {
        /// Where the section stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// What needs it.
        why: &'static str,
    },
    /// `${NAME}` that stands for nothing.
    #[error("{place}: {key}: ${{{name}}} is neither a configuration key nor a set environment variable")]
    Unresolved {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// The name.
        name: String,
    },
    /// `${NAME:?text}` that stands for nothing.
    #[error("{place}: {key}: {text}")]
    Demanded {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// The text after the question mark.
        text: String,
    },
    /// `${…` that can not be understood.
    #[error("{place}: {key}: {reason}")]
    Substitution {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// Why.
        reason: &'static str,
    },
}

impl Problem {
    /// Where it stands.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Syntax { place, .. }
            | Self::NotAMap { place, .. }
            | Self::Duplicate { place, .. }
            | Self::BadKey { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Value { place, .. }
            | Self::Refused { place, .. }
            | Self::Missing { place, .. }
            | Self::Unresolved { place, .. }
            | Self::Demanded { place, .. }
            | Self::Substitution { place, .. } => Some(place),
        }
    }

    /// What to do about it, where that is not in the text already.
    pub fn hint(&self) -> Option<String> {
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
            Self::Unresolved { name, .. } => Some(format!(
                "set {name}, or give a default: ${{{name}:default}}; a literal `${{` is `$${{`"
            )),
            Self::Syntax { .. }
            | Self::NotAMap { .. }
            | Self::Duplicate { .. }
            | Self::Value { .. }
            | Self::Refused { .. }
            | Self::Missing { .. }
            | Self::Demanded { .. }
            | Self::Substitution { .. } => None,
        }
    }
}

/// Everything that is wrong, in the order of the files and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// At least one.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// Each of them.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
            if let Some(hint) = problem.hint() {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// What somebody should know about a configuration that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Keys that are checked and then not used.
    NoEffect(Vec<String>),
    /// A key that has a better successor.
    Deprecated {
        /// The dotted key.
        key: String,
        /// What to use.
        instead: &'static str,
    },
    /// The chosen preset wants more memory than there is.
    LittleMemory {
        /// What was asked for.
        max_agents: i64,
        /// What the preset recommends.
        recommended_mib: u64,
        /// What there is.
        available_mib: u64,
    },
    /// The agents' listener speaks plain HTTP.
    PlainHttp,
    /// A setting that weakens something.
    Weak {
        /// The dotted key.
        key: String,
        /// What it means.
        consequence: &'static str,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEffect(keys) => write!(f, "has no effect in this version: {}", keys.join(", ")),
            Self::Deprecated { key, instead } => write!(f, "{key} is deprecated: {instead}"),
            Self::LittleMemory { max_agents, recommended_mib, available_mib } => write!(
                f,
                "the limits for {max_agents} agents are made for {recommended_mib} MiB of memory, but there are \
                 {available_mib} MiB: lower inputs.0.server.limits.max_agents or give more memory"
            ),
            Self::PlainHttp => f.write_str(
                "agents are served over plain HTTP, their keys can be read on the way: set inputs.0.server.ssl",
            ),
            Self::Weak { key, consequence } => write!(f, "{key}: {consequence}"),
        }
    }
}
