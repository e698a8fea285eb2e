//! The text of docs/COMPATIBILITY.md from the cases and the tests.

use std::fmt::Write as _;

use crate::{
    case_id::CaseId,
    case_list::{Case, CaseList, Class},
    test_results::{Ran, TestResults},
};

/// In the order of the document.
const GROUPS: [(&str, &str); 26] = [
    ("GEN-", "Requests in general"),
    ("STA-", "Status"),
    ("ENR-", "Enrolment"),
    ("CHK-", "Check-in"),
    ("ACK-", "Acknowledgements"),
    ("AUD-", "Audit"),
    ("ART-", "Artifacts"),
    ("PGP-", "Signing key"),
    ("UPL-", "Uploads"),
    ("FIL-", "File delivery"),
    ("OPA-", "OpAMP"),
    ("GFU-", "Graceful force-unenrolment"),
    ("CFG-", "Configuration"),
    ("LIF-", "Run by an agent"),
    ("MET-", "Figures"),
    ("A", "Enrolment, what is kept"),
    ("B", "Authentication, what is kept"),
    ("C", "Check-ins and actions, what is kept"),
    ("D", "Policies, what is kept"),
    ("F", "Acknowledgements and upgrades, what is kept"),
    ("G", "Files, artifacts and clean-up, what is kept"),
    ("H", "The embedded store"),
    ("AC-", "The agent as a client"),
    ("T", "Reload of certificates"),
    ("R", "Rules of the reload"),
    ("S", "Every store"),
];

const HEAD: &str = "# Compatibility

Every case that [docs/protocol](protocol/README.md) lists, and what the tests say of it. `make compatibility` writes this file from the output of `make test`, and with `RUN=FILE` adds what a run of some tests printed; a case has a result only from tests that carry its id in their names.

| result | means |
|---|---|
| passed | as the original, and a test holds it |
| improved | better than the original on purpose, and a test holds it |
| with the Elasticsearch store | what is given is Elasticsearch itself |
| not applicable | and why |
| long | its only tests are the long ones of `make torture`, or could not run on that machine and said so |
| no test | nothing holds it yet |
";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Improved,
    Elasticsearch,
    NotApplicable,
    Long,
    NoTest,
}

const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Passed, "passed"),
    (Verdict::Improved, "improved"),
    (Verdict::Elasticsearch, "with the Elasticsearch store"),
    (Verdict::NotApplicable, "not applicable"),
    (Verdict::Long, "long"),
    (Verdict::NoTest, "no test"),
];

struct Row<'a> {
    id: &'a CaseId,
    case: &'a Case,
    verdict: Verdict,
    tests: Vec<&'a str>,
}

/// The whole file. A group that is listed and has no place here is an error.
pub(crate) fn render(list: &CaseList, results: &TestResults) -> Result<String, String> {
    let known = |group: &str| GROUPS.iter().any(|(name, _)| *name == group);
    if let Some(id) = list.cases.keys().find(|id| !known(&id.group)) {
        return Err(format!("{id} is of a group that report.rs does not name"));
    }
    let rows: Vec<Row<'_>> = list
        .cases
        .iter()
        .map(|(id, case)| Row::of(id, case, results))
        .collect();
    let mut totals = String::from("\n| cases | in all |");
    let mut rule = String::from("|---|---|");
    for (_, word) in VERDICTS {
        let _ = write!(totals, " {word} |");
        rule.push_str("---|");
    }
    let _ = writeln!(totals, "\n{rule}");
    total(&mut totals, "all", &rows.iter().collect::<Vec<_>>());
    let mut tables = String::new();
    for (group, title) in GROUPS {
        let rows: Vec<&Row<'_>> = rows.iter().filter(|row| row.id.group == group).collect();
        if rows.is_empty() {
            continue;
        }
        let name = group.trim_end_matches('-');
        total(&mut totals, &format!("{name}: {title}"), &rows);
        let _ = writeln!(
            tables,
            "\n## {name}: {title}\n\n| id | what holds | result | tests |\n|---|---|---|---|"
        );
        for row in rows {
            row.write(&mut tables);
        }
    }
    Ok(format!("{HEAD}{totals}{tables}"))
}

fn total(text: &mut String, name: &str, rows: &[&Row<'_>]) {
    let _ = write!(text, "| {name} | {} |", rows.len());
    for (verdict, _) in VERDICTS {
        let _ = write!(
            text,
            " {} |",
            rows.iter().filter(|row| row.verdict == verdict).count()
        );
    }
    text.push('\n');
}

impl<'a> Row<'a> {
    fn of(id: &'a CaseId, case: &'a Case, results: &'a TestResults) -> Self {
        let tests: Vec<(&str, Ran)> = results.of(id).collect();
        let verdict = if tests.iter().any(|(_, ran)| *ran == Ran::Passed) {
            match case.class {
                Class::Improved(_) => Verdict::Improved,
                _ => Verdict::Passed,
            }
        } else if !tests.is_empty() {
            Verdict::Long
        } else {
            match case.class {
                Class::Elasticsearch => Verdict::Elasticsearch,
                Class::NotApplicable(_) => Verdict::NotApplicable,
                Class::AsTheOriginal | Class::Improved(_) => Verdict::NoTest,
            }
        };
        let tests = tests.into_iter().map(|(name, _)| name).collect();
        Self {
            id,
            case,
            verdict,
            tests,
        }
    }

    fn write(&self, text: &mut String) {
        let word = VERDICTS.iter().find(|(verdict, _)| *verdict == self.verdict);
        let word = word.map_or("", |(_, word)| word);
        let result = match (self.verdict, &self.case.class) {
            (Verdict::Improved, Class::Improved(detail))
            | (Verdict::NotApplicable, Class::NotApplicable(detail)) => {
                format!("{word}: {detail}")
            }
            _ => word.to_owned(),
        };
        let tests: Vec<String> = self.tests.iter().map(|name| format!("`{name}`")).collect();
        let (id, line, tests) = (self.id, &self.case.line, tests.join(", "));
        let _ = writeln!(text, "| {id} | {line} | {result} | {tests} |");
    }
}

/// Counted from 1; none if the texts are equal.
pub(crate) fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let equal = one
        .lines()
        .zip(other.lines())
        .take_while(|(one, other)| one == other);
    Some(equal.count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &str = "## Cases
| id | what holds | class |
| CHK-2 | a key | elasticsearch |
| CHK-10 | ten | improved: none in the original |
| CHK-9 | nine |
| S28 | a million |
| A1 | a better thing | improved: worse in the original |
| AC-9 | hosts | not applicable: the agent's |
| AC-36 | one upgrade | not applicable: the agent's |
";
    const RUN: &str = "test b::chk_09_10_x ... ok\ntest s28_y ... ignored\ntest ac_36_z ... ok\n";

    fn render_all(cases: &str, run: &str) -> Result<String, String> {
        let mut list = CaseList::default();
        list.add("x.md", cases)?;
        let mut results = TestResults::default();
        results.add(run)?;
        render(&list, &results)
    }

    #[test]
    fn a_case_passes_by_a_test_alone() {
        let text = render_all(CASES, RUN).unwrap();
        for row in [
            "| all | 7 | 2 | 1 | 1 | 1 | 1 | 1 |",
            "| CHK: Check-in | 3 | 1 | 1 | 1 | 0 | 0 | 0 |",
            "| CHK-2 | a key | with the Elasticsearch store |  |",
            "| CHK-9 | nine | passed | `chk_09_10_x` |",
            "| CHK-10 | ten | improved: none in the original | `chk_09_10_x` |",
            "| S28 | a million | long | `s28_y` |",
            "| A1 | a better thing | no test |  |",
            "| AC-9 | hosts | not applicable: the agent's |  |",
            "| AC-36 | one upgrade | passed | `ac_36_z` |",
        ] {
            assert!(text.lines().any(|line| line == row), "{row} in\n{text}");
        }
    }

    #[test]
    fn the_order_of_lists_and_tests_does_not_matter() {
        let backwards = |text: &str| {
            text.lines()
                .rev()
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        let cases = format!("## Cases\n{}", backwards(CASES).replace("## Cases\n", ""));
        assert_eq!(render_all(CASES, RUN), render_all(&cases, &backwards(RUN)));
    }

    #[test]
    fn a_group_without_a_place_is_an_error() {
        let fault = render_all("## Cases\n| XY-1 | x |\n", RUN).unwrap_err();
        assert!(fault.starts_with("XY-1 "), "{fault}");
    }

    #[test]
    fn the_first_difference_is_found_also_at_the_end() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
    }
}
