//! Writes docs/COMPATIBILITY.md: every case that docs/protocol lists, with what the last test run says of it.
//! In: the lists and target/test-results.txt, which `make test` leaves when it passed. Out: the same text for the same
//! two, whatever the time, the machine and the order of the tests. It never runs a test and never judges one.
#![expect(
    clippy::print_stderr,
    reason = "a program of the build: words go to the one who runs it"
)]

mod case_id;
mod case_list;
mod report;
mod test_results;

use std::{env, fs, process::ExitCode};

use case_list::CaseList;
use test_results::TestResults;

const REPORT: &str = "docs/COMPATIBILITY.md";
const RESULTS: &str = "target/test-results.txt";
const LISTS: [&str; 3] = ["agents.md", "data.md", "reload.md"];

fn main() -> ExitCode {
    let is_check = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return failed("usage: compatibility [--check]"),
    };
    match written(is_check) {
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

fn written(is_check: bool) -> Result<(), String> {
    let mut cases = CaseList::default();
    for name in LISTS {
        let path = format!("docs/protocol/{name}");
        cases.add(&path, &read(&path)?)?;
    }
    let results = read(RESULTS)
        .map_err(|fault| format!("{fault}\nhint: `make test` writes it when every test passed"))?;
    let now = report::render(&cases, &TestResults::parse(&results)?)?;
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
