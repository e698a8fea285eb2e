//! Why a command failed: a sentence with the remedy, and an exit code for scripts (docs/OPERATIONS.md lists them).

use std::{io, path::PathBuf};

use notation::terminal::harmless;

use crate::server::Unreachable;

/// Exit code of a command line that cannot be used.
pub const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum Fault {
    /// The server does not want it, or the key may not.
    #[error("{}", harmless(message))]
    Refused { message: String, status: u16 },
    /// Some of many targets failed; each was told.
    #[error("{failed} of {all} agents were not {done}: the reasons stand above")]
    Partly {
        failed: usize,
        all: usize,
        done: &'static str,
    },
    /// Files on this machine, or the output.
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// Each with file and line.
    #[error("nothing was changed:\n{}", shown(.0))]
    Files(Vec<String>),
    /// What was given on the command line.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    #[error("{}", harmless(message))]
    NotFound { message: String },
    #[error("{}", harmless(message))]
    Conflict { message: String },
    /// `policy diff --exit-code` found some.
    #[error("the files differ from the server")]
    Differs,
}

impl Fault {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Partly { .. } | Self::File { .. } | Self::Output(_) => 1,
            Self::Usage(_) | Self::Files(_) => USAGE,
            Self::Unreachable(_) => 3,
            Self::NotFound { .. } => 4,
            Self::Conflict { .. } => 5,
            Self::Differs => 6,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = harmless(&path.into().display().to_string()).into_owned();
        Self::File { path, source }
    }

    pub(crate) fn not_found(what: &str, name: &str, remedy: &str) -> Self {
        Self::NotFound {
            message: format!("there is no {what} {name}: {remedy}"),
        }
    }

    /// From an answer that is no success: what the server said, and what helps where it says only what is wrong.
    pub(crate) fn of_answer(url: &str, status: u16, said: &str) -> Self {
        let message = match status {
            401 => format!(
                "{url} does not know the key ({said}): give a good one with --api-key-path, --profile or \
                 FLEET_ADMIN_KEY"
            ),
            403 => format!("the key may not do this ({said}): ask with one of a role that may"),
            _ => format!("{url} answered {status}: {said}"),
        };
        match status {
            404 => Self::NotFound { message },
            409 => Self::Conflict { message },
            429 | 502..=504 => Self::Unreachable(Unreachable(format!("{message}; again later"))),
            _ => Self::Refused { message, status },
        }
    }
}

fn shown(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| harmless(line)).collect();
    lines.join("\n")
}
