//! `fleet-server run`, and the program without a sub-command.

use std::path::PathBuf;

use anyhow::Result;
use configuration::{Config, Notice, Overlay};

use super::{Exit, GlobalArgs};
use crate::{lifecycle, logging, planning};

/// Serves until a signal ends it.
///
/// # Errors
/// The configuration is wrong, the server could not start, or did not stop in good order.
pub(crate) fn run(global: &GlobalArgs) -> Result<Exit> {
    let files = if global.files.is_empty() {
        vec![PathBuf::from(DEFAULT_FILE)]
    } else {
        global.files.clone()
    };
    lifecycle::process(async |beginning| {
        let (config, notices) = global.load_with(files, Overlay::default())?;
        let logs = begin_log(&config, &notices)?;
        let outcome = match planning::plan(&config) {
            Ok(plan) => lifecycle::run(plan, beginning, |_, _| Ok(())).await,
            Err(error) => Err(error),
        };
        log_end(&outcome);
        let is_said = logs.is_stderr();
        logs.close();
        if let Err(error) = &outcome
            && is_said
        {
            beginning.failed(error).await;
            // The log on standard error already has the error; `main` would repeat it.
            return Ok(Exit::Failure);
        }
        outcome.map(|()| Exit::Success)
    })
}

/// Opens the log and says what is worth knowing about the configuration.
pub(super) fn begin_log(config: &Config, notices: &[Notice]) -> Result<logging::Logs> {
    let logs = logging::start(&config.logging)?;
    log::info!(
        "process.pid" = std::process::id(), "service.version" = crate::build::VERSION, "commit" = crate::build::commit();
        "Boot fleet-server"
    );
    for notice in notices {
        log::warn!("{notice}");
    }
    Ok(logs)
}

/// Logs why it ended, if it failed.
pub(super) fn log_end(outcome: &Result<()>) {
    if let Err(error) = outcome {
        log::error!("event.action" = "exit", "error.message":% = format!("{error:#}"); "fleet-server ends: {error:#}");
    }
}

/// What `run` reads without `-c`.
pub(crate) const DEFAULT_FILE: &str = "fleet-server.yml";
