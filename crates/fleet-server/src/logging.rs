//! The log: ECS JSON lines to files or standard error, or text for people who read it on a terminal.
//!
//! `log` records with key-values come in; `env_logger` filters and formats; a sink writes. A line is handed to
//! the operating system before the call returns, so that nothing is lost when the process dies. A sink that
//! fails (a full disk) never stops the server: the lines are dropped and counted, and standard error hears of it.

mod accept_errors;
mod ecs;
mod files;
mod text;
mod tls_peers;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use env_logger::{Builder, Target, WriteStyle};

use accept_errors::Judged;
pub(crate) use accept_errors::register as register_accept_errors;
use configuration::Logging;
use files::RotatingFiles;
pub(crate) use tls_peers::register as register_peer_warnings;

#[derive(Debug)]
pub(crate) struct Logs {
    files: Option<Arc<Mutex<RotatingFiles>>>,
    is_stderr: bool,
}

impl Logs {
    /// Whether it writes to standard error, where the program's own messages go too.
    pub(crate) fn is_stderr(&self) -> bool {
        self.is_stderr
    }

    /// Flushes and syncs the files.
    pub(crate) fn close(self) {
        log::logger().flush();
        if let Some(files) = self.files {
            files.lock().unwrap_or_else(PoisonError::into_inner).sync();
        }
    }
}

/// Opens the log as the configuration says. Once per process.
pub(crate) fn start(config: &Logging) -> Result<Logs> {
    let mut builder = Builder::new();
    let level = match config.to_stderr || config.to_files {
        true => config.level,
        false => log::LevelFilter::Off,
    };
    filter(&mut builder, level);
    builder.write_style(WriteStyle::Never);
    let files = if config.to_stderr {
        builder.target(Target::Stderr);
        None
    } else if config.to_files {
        let opened = RotatingFiles::open(&config.files).with_context(|| {
            let directory = config.files.path.clone().unwrap_or_else(|| ".".into());
            format!(
                "cannot write log files in {} (logging.files.path)",
                directory.display()
            )
        })?;
        // Without this line a server started in a terminal would print nothing there.
        files::say(&format!(
            "the log is in {}/{}-*.ndjson; logging.to_stderr: true shows it here",
            opened.directory().display(),
            config.files.name
        ));
        let shared = Arc::new(Mutex::new(opened));
        builder.target(Target::Pipe(Box::new(FileSink(Arc::clone(&shared)))));
        Some(shared)
    } else {
        None
    };
    if config.to_stderr && config.is_text(io::stderr().is_terminal()) {
        builder.format(|out, record| text::write(out, record));
    } else {
        builder.format(|out, record| ecs::write_json(out, record));
    }
    let log = Admitted(builder.build());
    log::set_max_level(log.0.filter());
    log::set_boxed_logger(Box::new(log)).context("the log is open already")?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let text = panic.payload().downcast_ref::<&str>().copied();
        let text = text
            .or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("?");
        log::error!("event.action" = "panic", "log.origin.file.name" = place.as_str(); "panicked at {place}: {text}");
    }));
    Ok(Logs {
        files,
        is_stderr: config.to_stderr,
    })
}

/// What goes into the log at this level.
fn filter(builder: &mut Builder, level: log::LevelFilter) {
    builder.filter_level(level);
    // Debug lines of these libraries are about their own internals.
    for noisy in [
        "actix_server",
        "actix_http",
        "mio",
        "rustls",
        "hyper",
        "hyper_util",
    ] {
        builder.filter_module(noisy, level.min(log::LevelFilter::Warn));
    }
    // It warns of what clients do, as often as they do it; the listener ends and counts such connections.
    builder.filter_module("h2", level.min(log::LevelFilter::Error));
    if level != log::LevelFilter::Off {
        builder.filter_module(api::AUDIT_LOG, level.max(log::LevelFilter::Info));
    }
    // It logs clients' mistakes as errors without naming the client; the listener counts them and names the client.
    builder.filter_module("actix_http::h1::dispatcher", log::LevelFilter::Off);
    // The kernel reports the removal of a watched directory twice, to its own watch and to its parent's; notify removes the
    // watch at both and warns at the second (`WatchNotFound`), so each kubelet swap would log a false warning. A watch
    // that really stops is reported by tls-reload.
    builder.filter_module("notify", level.min(log::LevelFilter::Error));
}

/// The log, without records that peers could flood it with.
struct Admitted(env_logger::Logger);

impl log::Log for Admitted {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.0.matches(record) {
            return;
        }
        match accept_errors::judge(record) {
            Judged::Told(line) => self
                .0
                .log(&record.to_builder().args(format_args!("{line}")).build()),
            Judged::Other if tls_peers::admits(record) => self.0.log(record),
            Judged::Other | Judged::Counted => {}
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// `env_logger` writes each record with one call.
struct FileSink(Arc<Mutex<RotatingFiles>>);

impl Write for FileSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::{Level, LevelFilter, Log as _, Metadata};

    use super::*;

    #[test]
    fn what_operators_did_is_left_out_by_no_level() {
        for level in [LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info] {
            let mut builder = Builder::new();
            filter(&mut builder, level);
            let log = builder.build();
            let shows = |target| log.enabled(&Metadata::builder().level(Level::Info).target(target).build());
            assert!(shows(api::AUDIT_LOG), "{level}");
            assert_eq!(shows("fleet"), level == LevelFilter::Info);
            let warning = Metadata::builder().level(Level::Warn).target("h2::proto").build();
            assert!(!log.enabled(&warning), "clients could fill the log with these");
        }
    }
}
