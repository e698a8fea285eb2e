//! Every scenario against a server that is started for it on an empty store: the figures of docs/BENCHMARKS.md.
//!
//! In: the server's program and how many agents. Out: one document with machine, version, figures and how to repeat
//! them. What a scenario finds wrong stands there too, and ends the run with exit code 1.

use std::{fmt::Write as _, fs, path::Path};

use clap::Parser as _;

use crate::{
    command_line::CommandLine,
    fault::Fault,
    own_server::{OwnServer, SETTINGS},
    report::Report,
    scenario,
};

/// One measurement: its title, settings of the server beyond the usual ones, and the command line.
struct Measurement {
    title: &'static str,
    settings: &'static [&'static str],
    words: &'static [&'static str],
    /// Agents, if it is not as many as were asked for.
    agents: Option<usize>,
}

/// Runs all and writes `output`; gives whether everything was right.
pub(crate) async fn run(program: &Path, agents: usize, output: &Path) -> Result<bool, Fault> {
    let mut text = head(program, agents);
    let mut is_right = true;
    for measurement in &MEASUREMENTS {
        let report = measure(program, measurement, agents).await?;
        is_right &= report.is_right();
        section(&mut text, measurement, &report);
        // What was measured is kept even if a later one fails.
        fs::write(output, &text)?;
    }
    Ok(is_right)
}

async fn measure(program: &Path, measurement: &Measurement, agents: usize) -> Result<Report, Fault> {
    let server = OwnServer::start(program, measurement.settings).await?;
    let (quickstart, pid) = (
        server.quickstart().display().to_string(),
        server.pid().to_string(),
    );
    let agents = measurement.agents.unwrap_or(agents).to_string();
    let mut line = vec!["fleet-load"];
    line.extend(measurement.words);
    line.extend(["--quickstart", &quickstart, "--pid", &pid, "--agents", &agents]);
    let line = CommandLine::try_parse_from(line).map_err(|error| Fault::Part(error.to_string()))?;
    Box::pin(scenario::run(&line.scenario)).await
}

fn head(program: &Path, agents: usize) -> String {
    let version = std::process::Command::new(program).arg("--version").output();
    let version = version.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "),
    );
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let settings = SETTINGS.map(|setting| format!("-E {setting}")).join(" ");
    format!(
        "# Benchmarks\n\n\
         Written by `make bench`, which is how they are repeated: the release server on an empty store, and \
         `fleet-load` beside it on the same machine, so both share its cores. Agents keep no pauses where the command \
         says `--eager`. Every agent checks what it is given.\n\n\
         | | |\n|---|---|\n| server | {version} |\n| processor | {}, {} cores |\n| memory | {} |\n| kernel | {} |\n\
         | agents | {agents} where nothing else is said |\n| server's settings | `{settings}` |\n",
        value(&read("/proc/cpuinfo"), "model name"),
        std::thread::available_parallelism().map_or(1, usize::from),
        value(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

fn section(text: &mut String, measurement: &Measurement, report: &Report) {
    let settings: String = measurement
        .settings
        .iter()
        .map(|setting| format!(" (server: `-E {setting}`)"))
        .collect();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n## {}\n\n`fleet-load {}`{settings}\n\n{}",
        measurement.title,
        measurement.words.join(" "),
        report.to_markdown()
    );
}

const AT_ONCE: [&str; 2] = [
    "inputs.0.server.timeouts.checkin_long_poll=1ms",
    "inputs.0.server.timeouts.checkin_jitter=0s",
];

const MEASUREMENTS: [Measurement; 11] = [
    Measurement {
        title: "Enrolment, a connection each",
        settings: &[],
        words: &["enroll"],
        agents: None,
    },
    Measurement {
        title: "Enrolment without handshakes",
        settings: &[],
        words: &["enroll", "--shared-connections", "64"],
        agents: None,
    },
    Measurement {
        title: "Idle agents",
        settings: &[],
        words: &["idle", "--duration", "60s"],
        agents: None,
    },
    Measurement {
        title: "Light check-ins",
        settings: &AT_ONCE,
        words: &["checkin", "--eager", "--duration", "20s"],
        agents: Some(256),
    },
    Measurement {
        title: "A small policy to all",
        settings: &[],
        words: &["policy-rollout", "--rounds", "5"],
        agents: None,
    },
    Measurement {
        title: "A policy of 50 KB to all",
        settings: &[],
        words: &["policy-rollout", "--rounds", "3", "--policy", "50KB"],
        agents: None,
    },
    Measurement {
        title: "An action to all",
        settings: &[],
        words: &["action-rollout"],
        agents: None,
    },
    Measurement {
        title: "All come back at one moment",
        settings: &[],
        words: &["storm", "--duration", "5s"],
        agents: None,
    },
    Measurement {
        title: "Uploads",
        settings: &[],
        words: &["upload", "--duration", "20s"],
        agents: Some(8),
    },
    Measurement {
        title: "Agents come and go",
        settings: &[],
        words: &["churn", "--duration", "3m"],
        agents: Some(1000),
    },
    Measurement {
        title: "A day in a minute",
        settings: &[],
        words: &["mix", "--duration", "60s", "--size", "1MiB"],
        agents: Some(1000),
    },
];
