//! `logging.*`.

use std::{path::PathBuf, time::Duration};

use super::{
    declare::{EFFECTIVE, INERT, between, section},
    setting::{Refusal, Setting, Shown},
    size::ByteSize,
};

section! {
    /// What is logged, and where to: ECS JSON, one object a line.
    pub struct Logging {
        keys {
            /// Least severity that is written: trace, debug, info, warn or error.
            level: Level = Level(log::LevelFilter::Info) => EFFECTIVE;
            /// Write to standard error. It wins over files.
            to_stderr: bool = false => EFFECTIVE;
            /// Write to files. If this and `to_stderr` are false, nothing is logged.
            to_files: bool = true => EFFECTIVE;
            /// Write for people instead of programs; only on standard error.
            pretty: bool = false => EFFECTIVE;
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
            path: Option<PathBuf> = None => EFFECTIVE;
            /// Beginning of the files' names.
            name: String = "fleet-server.log".to_owned() => EFFECTIVE, check file_name;
            /// A file that would grow larger is followed by a new one.
            rotateeverybytes: ByteSize = ByteSize(10_485_760) => EFFECTIVE, check at_least_one;
            /// Older files that are kept, at most 1024.
            keepfiles: u32 = 7 => EFFECTIVE, unit "files", check between(0, 1024);
            /// Mode of the files, octal.
            permissions: Mode = Mode(0o600) => EFFECTIVE;
            /// A new file at each multiple of this time; 0: none for time alone.
            interval: Duration = Duration::ZERO => EFFECTIVE, check zero_or_a_second;
            /// Begin a new file at every start.
            rotateonstartup: bool = true => EFFECTIVE;
            /// Write what else goes to standard error into the files too.
            redirect_stderr: bool = false => INERT;
        }
        sections {}
    }
}

fn file_name(name: &String) -> Result<(), String> {
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err("a file name without `/`".to_owned());
    }
    Ok(())
}

fn at_least_one(size: &ByteSize) -> Result<(), String> {
    if size.0 >= 1 {
        Ok(())
    } else {
        Err("at least 1 byte".to_owned())
    }
}

fn zero_or_a_second(interval: &Duration) -> Result<(), String> {
    if interval.is_zero() || *interval >= Duration::from_secs(1) {
        Ok(())
    } else {
        Err("0 or at least 1s".to_owned())
    }
}

/// Least severity that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub log::LevelFilter);

impl Setting for Level {
    fn allowed() -> String {
        "one of trace, debug, info, warn, error".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        let level = match text.to_ascii_lowercase().as_str() {
            "trace" => log::LevelFilter::Trace,
            "debug" => log::LevelFilter::Debug,
            "info" => log::LevelFilter::Info,
            "warn" | "warning" => log::LevelFilter::Warn,
            "error" => log::LevelFilter::Error,
            // http-api 3.2 fixes these words.
            _ => {
                return Err(Refusal::Because(
                    "invalid log level; must be one of: trace, debug, info, warn, error".to_owned(),
                ));
            }
        };
        Ok(Self(level))
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(self.0.as_str().to_ascii_lowercase()))
    }
}

/// A file mode, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Setting for Mode {
    fn allowed() -> String {
        "a file mode in octal from 0 to 0777, such as 0600".to_owned()
    }
    fn unit() -> &'static str {
        "octal mode"
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .map(Self)
            .ok_or_else(super::setting::must_be::<Self>)
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Bare(format!("{:04o}", self.0)))
    }
}
