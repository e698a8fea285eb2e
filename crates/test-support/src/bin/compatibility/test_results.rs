//! What a run of `cargo test` printed about the tests that carry cases.

use std::collections::{BTreeMap, BTreeSet};

use crate::case_id::CaseId;

/// The tests of each case by their own names: one that runs against several engines counts once.
#[derive(Debug, Default)]
pub(crate) struct TestResults {
    tests: BTreeMap<CaseId, BTreeMap<String, Ran>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ran {
    /// Left to `make torture`.
    Ignored,
    Passed,
}

impl TestResults {
    /// A failed test is an error: the table tells what holds, and a run that failed tells nothing of the tests that
    /// it did not reach.
    pub(crate) fn parse(output: &str) -> Result<Self, String> {
        let mut results = Self::default();
        let mut failed = BTreeSet::new();
        let mut count = 0;
        for line in output.lines() {
            let Some((path, outcome)) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.rsplit_once(" ... "))
            else {
                continue;
            };
            let ran = match outcome.split([',', ' ']).next() {
                Some("ok") => Ran::Passed,
                Some("ignored") => Ran::Ignored,
                Some("FAILED") => {
                    failed.insert(path);
                    continue;
                }
                _ => continue,
            };
            count += 1;
            let path = path.split(" - ").next().unwrap_or(path);
            let name = path.rsplit("::").next().unwrap_or(path);
            for id in CaseId::in_test_name(name) {
                let tests = results.tests.entry(id).or_default();
                let best = tests.entry(name.to_owned()).or_insert(ran);
                *best = ran.max(*best);
            }
        }
        if let Some(first) = failed.first() {
            return Err(format!("{} tests failed, first {first}", failed.len()));
        }
        match count {
            0 => Err("the test run tells of no test".to_owned()),
            _ => Ok(results),
        }
    }

    /// Sorted by name.
    pub(crate) fn of(&self, id: &CaseId) -> impl Iterator<Item = (&str, Ran)> {
        let tests = self.tests.get(id).into_iter().flatten();
        tests.map(|(name, ran)| (name.as_str(), *ran))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 6 tests
test wire::chk_03_04_it_is_so ... ok
test s17_a_hundred_thousand_agents ... ignored, half a minute
test conformance::s17_lists ... ok
test t08_it_panics - should panic ... ok
test src/lib.rs - c7_of_a_doc (line 3) ... ok
test nothing_to_see ... ok

test result: ok. 6 passed; 0 failed
";

    fn told(results: &TestResults, id: &str) -> Vec<(String, Ran)> {
        let id = CaseId::parse(id).unwrap();
        results
            .of(&id)
            .map(|(name, ran)| (name.to_owned(), ran))
            .collect()
    }

    #[test]
    fn each_case_knows_its_tests() {
        let results = TestResults::parse(OUTPUT).unwrap();
        for id in ["CHK-3", "CHK-4"] {
            assert_eq!(
                told(&results, id),
                [("chk_03_04_it_is_so".to_owned(), Ran::Passed)]
            );
        }
        let lists = [
            ("s17_a_hundred_thousand_agents".to_owned(), Ran::Ignored),
            ("s17_lists".to_owned(), Ran::Passed),
        ];
        assert_eq!(told(&results, "S17"), lists);
        assert_eq!(told(&results, "T8"), [("t08_it_panics".to_owned(), Ran::Passed)]);
        assert_eq!(told(&results, "C7"), []);
    }

    #[test]
    fn a_test_that_passed_somewhere_has_passed() {
        for output in [
            "test a::s01_x ... ignored\ntest b::s01_x ... ok",
            "test b::s01_x ... ok\ntest a::s01_x ... ignored",
        ] {
            let results = TestResults::parse(output).unwrap();
            assert_eq!(told(&results, "S1"), [("s01_x".to_owned(), Ran::Passed)]);
        }
    }

    #[test]
    fn a_run_that_failed_or_told_nothing_is_no_result() {
        let fault = TestResults::parse("test a ... ok\ntest b::c ... FAILED\n").unwrap_err();
        assert!(fault.contains("b::c"), "{fault}");
        assert!(TestResults::parse("").is_err());
    }
}
