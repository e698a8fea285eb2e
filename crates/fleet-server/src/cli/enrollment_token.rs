//! `fleet-server enrollment-token`: shows the token that new agents enrol with. Needs no running server.

use std::{io::Write, path::PathBuf};

use anyhow::{Result, bail};

use super::{Exit, GlobalArgs};
use crate::first_start;

/// Prints the token alone on one line: the operator's own (`bootstrap.enrollment_token_path`), else the one that
/// the first start made.
pub(crate) fn run(global: &GlobalArgs, out: &mut dyn Write) -> Result<Exit> {
    let file = token_file(global)?;
    let Some(token) = first_start::read_key(&file)? else {
        bail!(
            "there is no enrollment token in {}: the first start with an empty store makes it, unless \
             bootstrap.enrollment_token_path names one of your own (give -c FILE then); tokens of other policies \
             are made through the admin API",
            file.display()
        );
    };
    writeln!(out, "{}", token.to_token())?;
    Ok(Exit::Success)
}

fn token_file(global: &GlobalArgs) -> Result<PathBuf> {
    if !global.is_configured() {
        return Ok(first_start::made_token(&global.data_dir()));
    }
    let config = global.load()?;
    Ok(match config.bootstrap.enrollment_token_path {
        Some(preset) => preset,
        None => first_start::made_token(&config.path.data),
    })
}
