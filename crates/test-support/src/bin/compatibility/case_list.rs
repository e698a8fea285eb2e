//! The cases that docs/protocol lists: id, line and class. A case stands once, in a "Cases" table or, for the rules of
//! reload.md, as the rule itself, of which the first sentence is its line.

use std::collections::BTreeMap;

use crate::case_id::CaseId;

#[derive(Debug, Default)]
pub(crate) struct CaseList {
    pub(crate) cases: BTreeMap<CaseId, Case>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) line: String,
    pub(crate) class: Class,
}

/// How a case stands to the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    AsTheOriginal,
    /// Better, and how.
    Improved(String),
    /// What is given is Elasticsearch itself.
    Elasticsearch,
    /// And why.
    NotApplicable(String),
}

impl CaseList {
    /// An error names the file and the line.
    pub(crate) fn add(&mut self, path: &str, text: &str) -> Result<(), String> {
        let mut is_cases = false;
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("## ") {
                is_cases = line == "## Cases";
            }
            let read = if is_cases { row(line) } else { rule(line) };
            let fault = |words: String| format!("{path}:{}: {words}", number + 1);
            let Some((id, case)) = read.map_err(fault)? else {
                continue;
            };
            let twice = format!("{id} is listed twice");
            if self.cases.insert(id, case).is_some() {
                return Err(fault(twice));
            }
        }
        Ok(())
    }
}

/// `| CHK-3 | what holds |`, or with a class in a third cell.
fn row(line: &str) -> Result<Option<(CaseId, Case)>, String> {
    let Some(cells) = line.strip_prefix("| ") else {
        return Ok(None);
    };
    let cells = cells.strip_suffix('|').ok_or("a row ends with |")?;
    let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
    if cells.first() == Some(&"id") {
        return Ok(None);
    }
    let (id, line, class) = match cells.as_slice() {
        [id, line] => (id, line, ""),
        [id, line, class] => (id, line, *class),
        _ => return Err("a row has two cells, or a third for the class".to_owned()),
    };
    let id = CaseId::parse(id).ok_or_else(|| format!("{id} is no id of a case"))?;
    let case = Case {
        line: from_docs(line),
        class: class_of(class)?,
    };
    Ok(Some((id, case)))
}

fn class_of(text: &str) -> Result<Class, String> {
    match text.split_once(": ") {
        None if text.is_empty() => Ok(Class::AsTheOriginal),
        None if text == "elasticsearch" => Ok(Class::Elasticsearch),
        Some(("improved", how)) => Ok(Class::Improved(how.to_owned())),
        Some(("not applicable", why)) => Ok(Class::NotApplicable(why.to_owned())),
        _ => Err(format!(
            "the class {text:?} is none of: improved: HOW, elasticsearch, not applicable: WHY"
        )),
    }
}

/// `**2.1** (ID) The rule. More of it.`
fn rule(line: &str) -> Result<Option<(CaseId, Case)>, String> {
    let Some((id, text)) = line
        .strip_prefix("**")
        .and_then(|rest| rest.split_once("** ("))
        .and_then(|(_, rest)| rest.split_once(") "))
    else {
        return Ok(None);
    };
    let id = CaseId::parse(id).ok_or_else(|| format!("{id} is no id of a rule"))?;
    let sentence = text.split_once(". ").map_or(text, |(first, _)| first);
    let case = Case {
        line: from_docs(sentence.trim_end_matches(['.', ':'])),
        class: Class::AsTheOriginal,
    };
    Ok(Some((id, case)))
}

/// A link that was written in docs/protocol, as docs/ writes it.
fn from_docs(text: &str) -> String {
    text.replace("](../", "](")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<(String, Case)>, String> {
        let mut list = CaseList::default();
        list.add("x.md", text)?;
        Ok(list
            .cases
            .into_iter()
            .map(|(id, case)| (id.to_string(), case))
            .collect())
    }

    fn case(line: &str, class: Class) -> Case {
        Case {
            line: line.to_owned(),
            class,
        }
    }

    #[test]
    fn rows_and_rules() {
        let text = "
## 2 Watching

| id | guarantee |
|---|---|
| M1 | is no case |

**2.1** (R1) All is watched, see [there](../THERE.md#a). It is.

**2.2** (R2) In any way:

## Cases

| id | what holds | class |
|---|---|---|
| CHK-3 | `x` is y |
| A8 | z | improved: 500 in the original |
| B1 | | elasticsearch |
| AC-9 | w | not applicable: by itself: the agent |

## After

| X |
";
        let expected = [
            ("A8", case("z", Class::Improved("500 in the original".to_owned()))),
            (
                "AC-9",
                case("w", Class::NotApplicable("by itself: the agent".to_owned())),
            ),
            ("B1", case("", Class::Elasticsearch)),
            ("CHK-3", case("`x` is y", Class::AsTheOriginal)),
            (
                "R1",
                case("All is watched, see [there](THERE.md#a)", Class::AsTheOriginal),
            ),
            ("R2", case("In any way", Class::AsTheOriginal)),
        ];
        assert_eq!(
            list(text).unwrap(),
            expected.map(|(id, case)| (id.to_owned(), case))
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (row, words) in [
            ("| A1 | x | maybe |", "x.md:2: the class \"maybe\""),
            ("| A1 | x | | y |", "x.md:2: a row has two cells"),
            ("| A1 |", "x.md:2: a row has two cells"),
            ("| A1 | x", "x.md:2: a row ends with |"),
            ("| a1 | x |", "x.md:2: a1 is no id"),
            ("| A1 | x |\n| A01 | y |", "x.md:3: A1 is listed twice"),
        ] {
            let fault = list(&format!("## Cases\n{row}\n")).unwrap_err();
            assert!(fault.starts_with(words), "{fault}");
        }
    }
}
