//! `fleet-server sleep`: waits. Meant for the preStop hook of a container image without a shell.

use std::time::Duration;

use anyhow::{Result, anyhow};
use notation::duration::parse_or_seconds;

use super::Exit;
use crate::{lifecycle::block_on, signals::Signals};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SleepArgs {
    /// How long: `5s`, `500ms`; a bare number counts seconds
    #[arg(value_name = "DURATION", value_parser = length)]
    length: Duration,
}

/// Waits for the time given, or until a signal ends it; both are a success.
///
/// # Errors
/// The operating system refuses to deliver signals.
pub(crate) fn run(args: &SleepArgs) -> Result<Exit> {
    block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            () = tokio::time::sleep(args.length) => {}
            _ = signals.next() => {}
        }
        Ok(Exit::Success)
    })
}

fn length(text: &str) -> Result<Duration> {
    parse_or_seconds(text)
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| anyhow!("a duration such as 5s or 500ms is expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_durations_or_seconds() {
        assert_eq!(length("5").unwrap(), Duration::from_secs(5));
        assert_eq!(length("1m5s").unwrap(), Duration::from_secs(65));
        assert_eq!(length("500ms").unwrap(), Duration::from_millis(500));
        for wrong in ["", "-1", "-1s", "soon", "5 s", "99999999999"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
