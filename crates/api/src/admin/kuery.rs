//! The part of Kibana's query language that lists of agents understand: `field:value` with `and`, `or` and
//! brackets, where alternatives are of one field. Everything else is refused with a sentence that says why.

use fleet::{AgentQuery, AgentStatus, PolicyId};

/// Why a query was refused; a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kuery: {0}")]
pub(super) struct KueryError(String);

/// Longest query, bytes.
const MAX_BYTES: usize = 8 * 1024;
/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 20;

/// Adds the conditions of `text` to `query`.
pub(super) fn apply(text: &str, query: &mut AgentQuery) -> Result<(), KueryError> {
    if text.trim().is_empty() {
        return Ok(());
    }
    if text.len() > MAX_BYTES {
        return Err(KueryError(format!("longer than {MAX_BYTES} bytes")));
    }
    let words = words(text)?;
    let mut reader = Reader {
        words: &words,
        place: 0,
    };
    let tree = reader.any(0, None)?;
    if let Some(word) = reader.peek() {
        return Err(reader.left_over(word));
    }
    for part in conjunction(tree) {
        let (field, values) = alternatives(part)?;
        narrow(query, field, values)?;
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Open,
    Close,
    Colon,
    Text { text: String, is_quoted: bool },
}

fn words(text: &str) -> Result<Vec<Word>, KueryError> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        match next {
            '(' | ')' | ':' => {
                words.push(match next {
                    '(' => Word::Open,
                    ')' => Word::Close,
                    _ => Word::Colon,
                });
                chars.next();
            }
            '"' => {
                chars.next();
                words.push(quoted(&mut chars)?);
            }
            c if c.is_whitespace() => drop(chars.next()),
            '<' | '>' | '{' | '}' => {
                return Err(KueryError(format!(
                    "{next} is not supported: use field:value with and/or"
                )));
            }
            _ => {
                let mut text = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || matches!(c, '(' | ')' | ':' | '"') {
                        break;
                    }
                    text.push(c);
                    chars.next();
                }
                words.push(Word::Text {
                    text,
                    is_quoted: false,
                });
            }
        }
    }
    Ok(words)
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Word, KueryError> {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('"') => {
                return Ok(Word::Text {
                    text,
                    is_quoted: true,
                });
            }
            Some('\\') => text.extend(chars.next()),
            Some(c) => text.push(c),
            None => return Err(KueryError("a quote is not closed".to_owned())),
        }
    }
}

#[derive(Clone, Debug)]
enum Tree {
    Term { field: String, value: String },
    And(Vec<Tree>),
    Or(Vec<Tree>),
}

struct Reader<'a> {
    words: &'a [Word],
    place: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.place)
    }

    /// The error for a word where `and`, `or` or the end is expected.
    fn left_over(&self, word: &Word) -> KueryError {
        KueryError(match word {
            Word::Close => "a bracket is closed that was not opened".to_owned(),
            Word::Open => "a bracket is opened where and or or is expected".to_owned(),
            Word::Text { text, .. } => format!("{text} is where and or or is expected"),
            Word::Colon => match self.words.get(self.place.saturating_sub(1)) {
                Some(Word::Text { text, .. }) => {
                    format!("a second : after {text}: put a value that has one into quotes, field:\"a:b\"")
                }
                _ => "a : is where and or or is expected".to_owned(),
            },
        })
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Word::Text { text, is_quoted: false }) if text.eq_ignore_ascii_case(keyword));
        self.place += usize::from(is_next);
        is_next
    }

    fn takes(&mut self, word: &Word) -> bool {
        let is_next = self.peek() == Some(word);
        self.place += usize::from(is_next);
        is_next
    }

    /// `a or b`; `or` binds weaker than `and`. Inside `field:( … )` the values are written without their field.
    fn any(&mut self, depth: usize, field: Option<&str>) -> Result<Tree, KueryError> {
        let mut parts = vec![self.all(depth, field)?];
        while self.takes_keyword("or") {
            parts.push(self.all(depth, field)?);
        }
        Ok(Tree::Or(parts))
    }

    fn all(&mut self, depth: usize, field: Option<&str>) -> Result<Tree, KueryError> {
        let mut parts = vec![self.one(depth, field)?];
        while self.takes_keyword("and") {
            parts.push(self.one(depth, field)?);
        }
        Ok(Tree::And(parts))
    }

    fn one(&mut self, depth: usize, field: Option<&str>) -> Result<Tree, KueryError> {
        if depth > MAX_DEPTH {
            return Err(KueryError("too many brackets".to_owned()));
        }
        if self.takes_keyword("not") {
            return Err(KueryError(
                "not is not supported: name the values that are wanted".to_owned(),
            ));
        }
        if self.takes(&Word::Open) {
            let tree = self.any(depth + 1, field)?;
            if !self.takes(&Word::Close) {
                return Err(KueryError("a bracket is not closed".to_owned()));
            }
            return Ok(tree);
        }
        let text = self.text()?;
        if let Some(field) = field {
            return Ok(Tree::Term {
                field: field.to_owned(),
                value: text,
            });
        }
        if !self.takes(&Word::Colon) {
            return Err(KueryError(format!(
                "{text} is not a condition: expected field:value"
            )));
        }
        if self.peek() == Some(&Word::Open) {
            return self.one(depth, Some(&text));
        }
        Ok(Tree::Term {
            field: text,
            value: self.text()?,
        })
    }

    fn text(&mut self) -> Result<String, KueryError> {
        let Some(Word::Text { text, .. }) = self.peek() else {
            return Err(KueryError("expected field:value".to_owned()));
        };
        let text = text.clone();
        self.place += 1;
        Ok(text)
    }
}

/// The parts that must all hold.
fn conjunction(tree: Tree) -> Vec<Tree> {
    match tree {
        Tree::And(parts) => parts.into_iter().flat_map(conjunction).collect(),
        Tree::Or(mut parts) if parts.len() == 1 => parts.pop().map(conjunction).unwrap_or_default(),
        other => vec![other],
    }
}

/// The field of a part and the values of which one must hold.
fn alternatives(tree: Tree) -> Result<(String, Vec<String>), KueryError> {
    let mut field: Option<String> = None;
    let mut values = Vec::new();
    let mut rest = vec![tree];
    while let Some(tree) = rest.pop() {
        match tree {
            Tree::Term { field: name, value } => {
                let name = name.strip_prefix("fleet-agents.").unwrap_or(&name).to_owned();
                if field.get_or_insert_with(|| name.clone()) != &name {
                    return Err(KueryError(
                        "or between different fields is not supported".to_owned(),
                    ));
                }
                values.push(value);
            }
            Tree::Or(parts) => rest.extend(parts),
            Tree::And(mut parts) if parts.len() == 1 => rest.extend(parts.pop()),
            Tree::And(_) => return Err(KueryError("and inside or is not supported".to_owned())),
        }
    }
    values.reverse();
    Ok((field.unwrap_or_default(), values))
}

fn narrow(query: &mut AgentQuery, field: String, values: Vec<String>) -> Result<(), KueryError> {
    if let Some(value) = values.iter().find(|value| value.contains('*')) {
        return Err(KueryError(format!(
            "{value}: wildcards are not supported; use the parameter search for prefixes"
        )));
    }
    match field.as_str() {
        "policy_id" => intersect(
            &mut query.policies,
            values.iter().map(|value| PolicyId::from(value.as_str())),
        ),
        "status" => {
            let statuses: Result<Vec<_>, _> = values.iter().map(|value| status(value)).collect();
            intersect(&mut query.statuses, statuses?.into_iter())
        }
        "tags" => match <[String; 1]>::try_from(values) {
            Ok([tag]) => {
                query.tags.push(tag);
                Ok(())
            }
            Err(_) => Err(KueryError("or between tags is not supported; and is".to_owned())),
        },
        other => Err(KueryError(format!(
            "field {other} is not supported: use policy_id, status or tags"
        ))),
    }
}

/// Both conditions must hold; an empty list in the query means no condition.
fn intersect<T: PartialEq>(current: &mut Vec<T>, wanted: impl Iterator<Item = T>) -> Result<(), KueryError> {
    let wanted: Vec<T> = wanted.collect();
    if current.is_empty() {
        *current = wanted;
        return Ok(());
    }
    current.retain(|value| wanted.contains(value));
    if current.is_empty() {
        return Err(KueryError(
            "no agent can match: two conditions on one field exclude each other".to_owned(),
        ));
    }
    Ok(())
}

/// A status by its name.
pub(super) fn status(name: &str) -> Result<AgentStatus, KueryError> {
    let mut known = AgentStatus::ALL.iter().copied();
    let found = known.find(|status| status.as_str().eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let known: Vec<_> = AgentStatus::ALL.iter().map(|status| status.as_str()).collect();
        KueryError(format!(
            "status {name} is not known: use one of {}",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<AgentQuery, KueryError> {
        let mut query = AgentQuery::default();
        apply(text, &mut query).map(|()| query)
    }

    #[test]
    fn terms_with_and_or_and_brackets() {
        let query =
            read("policy_id:p1 and (status:online or status:error) AND tags:\"a b\" and tags:c").unwrap();
        assert_eq!(query.policies, [PolicyId::from("p1")]);
        assert_eq!(query.statuses, [AgentStatus::Online, AgentStatus::Error]);
        assert_eq!(query.tags, ["a b", "c"]);
        let query = read("fleet-agents.policy_id : (\"p#1\" or p2)").unwrap();
        assert_eq!(query.policies, [PolicyId::from("p#1"), PolicyId::from("p2")]);
        assert_eq!(read(" ").unwrap(), AgentQuery::default());
    }

    #[test]
    fn two_conditions_on_one_field_must_both_hold() {
        let query = read("status:(online or error) and status:online").unwrap();
        assert_eq!(query.statuses, [AgentStatus::Online]);
        assert!(read("status:online and status:error").is_err());
    }

    #[test]
    fn what_is_not_supported_is_refused_in_a_sentence() {
        for (text, part) in [
            ("not status:online", "not is not supported"),
            ("status:online or policy_id:p", "or between different fields"),
            (
                "local_metadata.host.hostname:h",
                "field local_metadata.host.hostname is not supported",
            ),
            ("policy_id:p*", "wildcards are not supported"),
            ("status:fine", "status fine is not known"),
            ("online", "is not a condition"),
            ("status:", "expected field:value"),
            ("(status:online", "a bracket is not closed"),
            ("status:online)", "a bracket is closed that was not opened"),
            (
                "policy_id:a:b",
                "a second : after a: put a value that has one into quotes",
            ),
            ("status:online healthy", "healthy is where and or or is expected"),
            ("status:online (tags:a)", "a bracket is opened where"),
            ("(status:online):x", "a : is where"),
            ("last_checkin > now-1h", "> is not supported"),
            ("tags:\"x", "a quote is not closed"),
            ("tags:a or tags:b", "or between tags"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read(&"(".repeat(5000)).is_err());
    }

    #[test]
    fn case_13_a_value_with_a_colon_works_as_the_message_says() {
        assert_eq!(
            read("policy_id:\"a:b\"").unwrap().policies,
            [PolicyId::from("a:b")]
        );
    }

    proptest! {
        #[test]
        fn no_query_panics(text in "(policy_id|status|tags|:|\\(|\\)| and | or |not |\"|\\\\|a|online| ){0,20}") {
            let _ = read(&text);
        }
    }
}
