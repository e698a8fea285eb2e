//! What runs of `cargo test` printed about the tests that carry cases, or what the table has kept of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::case_id::CaseId;

/// The tests of each case by their own names: one that runs against several engines counts once.
#[derive(Debug, Default)]
pub(crate) struct TestResults {
    tests: BTreeMap<CaseId, BTreeMap<String, Ran>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ran {
    /// Left to `make torture`, or not possible where it ran.
    Ignored,
    Passed,
}

impl TestResults {
    /// What an earlier table says of the tests that `exists` still knows: below a case that passed, all passed.
    pub(crate) fn of_table(table: &str, exists: impl Fn(&str) -> bool) -> Self {
        let mut tests = BTreeMap::new();
        for line in table.lines() {
            let cells: Vec<&str> = line.split(" | ").collect();
            let [id, _, verdict, names] = cells.as_slice() else {
                continue;
            };
            let Some(id) = id.strip_prefix("| ").and_then(CaseId::parse) else {
                continue;
            };
            let ran = match *verdict {
                "long" => Ran::Ignored,
                _ => Ran::Passed,
            };
            let names = names.split('`').skip(1).step_by(2);
            let names = names
                .filter(|name| exists(name))
                .map(|name| (name.to_owned(), ran));
            tests.insert(id, names.collect());
        }
        Self { tests }
    }

    /// A failed test is an error: the table tells what holds, and a run that failed tells nothing of the tests that
    /// it did not reach.
    pub(crate) fn add(&mut self, output: &str) -> Result<(), String> {
        let (mut failed, mut not_run) = (BTreeSet::new(), BTreeSet::new());
        let mut count = 0;
        for line in output.lines() {
            let Some((path, outcome)) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.rsplit_once(" ... "))
            else {
                continue;
            };
            let name = path.rsplit("::").next().unwrap_or(path);
            let ran = match outcome.split([',', ' ', ':']).next() {
                Some("not") => {
                    not_run.insert(name);
                    continue;
                }
                Some("ok") if not_run.contains(name) => Ran::Ignored,
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
                let tests = self.tests.entry(id).or_default();
                let best = tests.entry(name.to_owned()).or_insert(ran);
                *best = ran.max(*best);
            }
        }
        if let Some(first) = failed.first() {
            return Err(format!("{} tests failed, first {first}", failed.len()));
        }
        match count {
            0 => Err("the test run tells of no test".to_owned()),
            _ => Ok(()),
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

    fn parsed(output: &str) -> Result<TestResults, String> {
        let mut results = TestResults::default();
        results.add(output).map(|()| results)
    }

    fn told(results: &TestResults, id: &str) -> Vec<(String, Ran)> {
        let id = CaseId::parse(id).unwrap();
        results
            .of(&id)
            .map(|(name, ran)| (name.to_owned(), ran))
            .collect()
    }

    #[test]
    fn each_case_knows_its_tests() {
        let results = parsed(OUTPUT).unwrap();
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
            let results = parsed(output).unwrap();
            assert_eq!(told(&results, "S1"), [("s01_x".to_owned(), Ran::Passed)]);
        }
    }

    #[test]
    fn a_test_that_says_it_was_not_run_has_not_passed() {
        let output = "test s22_x ... not run: no file system may be mounted\ntest a::s22_x ... ok\ntest a::s01_x ... ok";
        let results = parsed(output).unwrap();
        assert_eq!(told(&results, "S22"), [("s22_x".to_owned(), Ran::Ignored)]);
        assert_eq!(told(&results, "S1"), [("s01_x".to_owned(), Ran::Passed)]);
    }

    #[test]
    fn a_run_that_failed_or_told_nothing_is_no_result() {
        let fault = parsed("test a ... ok\ntest b::c ... FAILED\n").unwrap_err();
        assert!(fault.contains("b::c"), "{fault}");
        assert!(parsed("").is_err());
    }

    #[test]
    fn a_run_of_some_tests_is_added_to_what_the_table_knows() {
        let table = "
| S1 | one | passed | `s01_x`, `s01_renamed` |
| S2 | two | long | `s02_x` |
| S3 | three | no test |  |
";
        let mut results = TestResults::of_table(table, |name| name != "s01_renamed");
        results
            .add("test a::s02_x ... ok\ntest a::s01_y ... ok\ntest a::s03_z ... ignored\n")
            .unwrap();
        let passed = |name: &str| (name.to_owned(), Ran::Passed);
        assert_eq!(told(&results, "S1"), [passed("s01_x"), passed("s01_y")]);
        assert_eq!(told(&results, "S2"), [passed("s02_x")]);
        assert_eq!(told(&results, "S3"), [("s03_z".to_owned(), Ran::Ignored)]);
    }
}
