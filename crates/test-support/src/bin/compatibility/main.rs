//! Writes docs/COMPATIBILITY.md: every case that docs/protocol lists, with what the last test run says of it.
//! In: the lists and target/test-results.txt, which `make test` leaves when it passed. Out: the same text for the same
//! two, whatever the time, the machine and the order of the tests; with the outputs of other runs, the table that is there
//! and they. It never runs a test and never judges one.
#![expect(
    clippy::print_stderr,
    reason = "a program of the build: words go to the one who runs it"
)]

mod case_id;
mod case_list;
mod report;
mod test_results;

use std::{collections::HashSet, env, fs, io, path::Path, process::ExitCode};

use case_list::CaseList;
use test_results::TestResults;

const REPORT: &str = "docs/COMPATIBILITY.md";
const RESULTS: &str = "target/test-results.txt";
const LISTS: [&str; 3] = ["agents.md", "data.md", "reload.md"];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let is_check = args == ["--check"];
    if !is_check && args.iter().any(|arg| arg.starts_with('-')) {
        return failed("usage: compatibility [--check | RUN…]");
    }
    match written(is_check, if is_check { &[] } else { &args }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => failed(&fault),
    }
}

fn failed(words: &str) -> ExitCode {
    eprintln!("{words}");
    ExitCode::FAILURE
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|fault| format!("{path}: {fault}"))
}

/// Of `runs` if there are any, else of the whole run.
fn results(runs: &[String]) -> Result<TestResults, String> {
    let mut results = TestResults::default();
    if runs.is_empty() {
        let output = read(RESULTS)
            .map_err(|fault| format!("{fault}\nhint: `make test` writes it when every test passed"))?;
        results.add(&output)?;
        return Ok(results);
    }
    let mut sources = String::new();
    collect(Path::new("crates"), &mut sources).map_err(|fault| format!("crates: {fault}"))?;
    let names: HashSet<&str> = sources
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    results = TestResults::of_table(&read(REPORT)?, |name| names.contains(name));
    for run in runs {
        results.add(&read(run)?)?;
    }
    Ok(results)
}

fn collect(directory: &Path, sources: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

fn written(is_check: bool, runs: &[String]) -> Result<(), String> {
    let mut cases = CaseList::default();
    for name in LISTS {
        let path = format!("docs/protocol/{name}");
        cases.add(&path, &read(&path)?)?;
    }
    let now = report::render(&cases, &results(runs)?)?;
    if !is_check {
        return fs::write(REPORT, now).map_err(|fault| format!("{REPORT}: {fault}"));
    }
    // One that is not there yet differs in every line.
    let committed = fs::read_to_string(REPORT).unwrap_or_default();
    match report::first_difference(&committed, &now) {
        None => Ok(()),
        Some(line) => Err(format!(
            "{REPORT} is not what the tests say, first in line {line}\nhint: run `make compatibility` and commit it"
        )),
    }
}
