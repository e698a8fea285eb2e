//! `logging.*`.

use std::{path::PathBuf, time::Duration};

use log::LevelFilter;

use crate::engine::{
    quantity::ByteSize,
    section::{between, section},
    setting::{Refusal, Shown, choice, setting},
};

section! {
    /// What is logged, and where to. Files hold ECS JSON, one object a line.
    pub struct Logging {
        keys {
            /// Least severity that is written: trace, debug, info, warn or error.
            level: LevelFilter = LevelFilter::Info;
            /// Write to standard error. It wins over files.
            to_stderr: bool = false;
            /// Write to files. If this and `to_stderr` are false, nothing is logged.
            to_files: bool = true;
            /// How lines on standard error look: text, json (ECS), or auto: text on a terminal, JSON elsewhere. Files are always JSON.
            format: Format = Format::Auto;
            /// Where format is auto: true is text, false is JSON.
            pretty: Option<bool> = None;
        }
        sections {
            /// The log files: PATH/NAME-YYYYMMDD.ndjson, then PATH/NAME-YYYYMMDD-1.ndjson.
            files: Files;
        }
    }
}

section! {
    /// The log files.
    pub struct Files {
        keys {
            /// Directory; unset: the working directory.
            path: Option<PathBuf> = None;
            /// Beginning of the files' names.
            name: String = "fleet-server.log".to_owned(), check |name| file_name(name);
            /// A file that would grow larger is followed by a new one.
            rotateeverybytes: ByteSize = ByteSize(10_485_760), check |size| match size.0 { 0 => Err("at least 1 byte".to_owned()), _ => Ok(()) };
            /// Older files that are kept, at most 1024.
            keepfiles: u32 = 7, unit "files", check between(0, 1024);
            /// Mode of the files, octal.
            permissions: Mode = Mode(0o600);
            /// A new file at each multiple of this time; 0: none for time alone.
            interval: Duration = Duration::ZERO, check zero_or_a_second;
            /// Begin a new file at every start.
            rotateonstartup: bool = true;
        }
    }
}

impl Logging {
    /// Whether lines on standard error are for people.
    pub fn is_text(&self, is_terminal: bool) -> bool {
        match self.format {
            Format::Auto => self.pretty.unwrap_or(is_terminal),
            Format::Text => true,
            Format::Json => false,
        }
    }
}

/// How a line on standard error looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What fits who reads.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

choice!(Format, Auto = "auto", Text = "text", Json = "json");

fn file_name(name: &str) -> Result<(), String> {
    match name {
        "" | "." | ".." => {}
        name if name.contains(['/', '\0']) => {}
        _ => return Ok(()),
    }
    Err("a file name without `/`".to_owned())
}

setting!(
    LevelFilter,
    "one of trace, debug, info, warn, error",
    |text| match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(Self::Trace),
        "debug" => Ok(Self::Debug),
        "info" => Ok(Self::Info),
        "warn" | "warning" => Ok(Self::Warn),
        "error" => Ok(Self::Error),
        // The original's words.
        _ => Err(Refusal::Because(
            "invalid log level; must be one of: trace, debug, info, warn, error".to_owned(),
        )),
    },
    |level| Shown::Bare(level.as_str().to_ascii_lowercase())
);

fn zero_or_a_second(interval: &Duration) -> Result<(), String> {
    match interval.is_zero() || *interval >= Duration::from_secs(1) {
        true => Ok(()),
        false => Err("0 or at least 1s".to_owned()),
    }
}

/// A file mode, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

setting!(
    Mode [unit "octal mode"],
    "a file mode in octal from 0 to 0777, such as 0600",
    |text| {
        let mode = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok()?;
        (mode <= 0o777).then_some(Self(mode))
    },
    |mode| Shown::Bare(format!("{:04o}", mode.0))
);
