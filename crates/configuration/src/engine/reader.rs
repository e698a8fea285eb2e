//! From the merged, substituted tree to typed sections. Nothing stops at the first problem: what cannot be read keeps
//! its default, and the problem is kept.

use config::{Value, ValueKind};

use super::{
    problem::{Problem, Report},
    schema::join,
    section::{Declared, Part, Presence, Section, Visit},
    setting::{Refusal, Setting, found, items_by_index},
};

/// A cursor in the tree.
pub(crate) struct Reader<'a> {
    value: &'a Value,
    path: String,
    report: &'a mut Report,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(root: &'a Value, report: &'a mut Report) -> Self {
        Self {
            value: root,
            path: String::new(),
            report,
        }
    }

    fn child(&self, name: &str) -> Option<&'a Value> {
        match &self.value.kind {
            ValueKind::Table(table) => table.get(name).filter(|value| value.kind != ValueKind::Nil),
            _ => None,
        }
    }

    /// The sections in `value`, each with its path.
    fn sections(&mut self, presence: Presence, value: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
        let numbered = |items: Vec<&'a Value>| {
            let items = items.into_iter().enumerate();
            items
                .map(|(index, item)| (join(path, &index.to_string()), item))
                .collect()
        };
        let allowed = match (presence, &value.kind) {
            (_, ValueKind::String(text)) if text.is_empty() => return Vec::new(),
            (Presence::Always | Presence::Optional, ValueKind::Table(_)) => {
                return vec![(path.to_owned(), value)];
            }
            (Presence::Always | Presence::Optional, _) => "a section with keys",
            (_, ValueKind::Array(items)) => return numbered(items.iter().collect()),
            (_, ValueKind::Table(table)) => match items_by_index(table) {
                Ok(items) => return numbered(items),
                Err(_) => "a list of sections, numbered from 0 without a gap",
            },
            _ => "a list of sections",
        };
        unfit(
            self.report,
            path,
            value,
            Refusal::Unfit,
            allowed.to_owned(),
            false,
        );
        Vec::new()
    }
}

impl Visit for Reader<'_> {
    fn key<T: Setting>(
        &mut self,
        declared: &Declared,
        slot: &mut T,
        check: &dyn Fn(&T) -> Result<(), String>,
    ) {
        let Some(value) = self.child(declared.name) else {
            return;
        };
        let read = T::from_value(value).and_then(|read| {
            check(&read).map_err(Refusal::MustBe)?;
            Ok(read)
        });
        match read {
            Ok(read) => *slot = read,
            Err(refusal) => {
                let key = join(&self.path, declared.name);
                unfit(self.report, &key, value, refusal, T::allowed(), T::IS_SECRET);
            }
        }
    }

    fn part<P: Part>(&mut self, declared: &Declared, part: &mut P) {
        let Some(value) = self.child(declared.name) else {
            return;
        };
        let path = join(&self.path, declared.name);
        let values = self.sections(P::PRESENCE, value, &path);
        part.resize(values.len());
        for (item, (path, value)) in part.items().iter_mut().zip(values) {
            let report = &mut *self.report;
            if matches!(value.kind, ValueKind::Table(_)) {
                item.walk(&mut Reader { value, path, report });
            } else {
                let allowed = "a section with keys".to_owned();
                unfit(report, &path, value, Refusal::Unfit, allowed, false);
            }
        }
    }
}

/// Reports a value that does not fit its key.
pub(crate) fn unfit(
    report: &mut Report,
    key: &str,
    value: &Value,
    refusal: Refusal,
    allowed: String,
    is_secret: bool,
) {
    let allowed = match refusal {
        Refusal::Because(sentence) => return report.refuse(key, sentence),
        Refusal::MustBe(allowed) => allowed,
        Refusal::Unfit => allowed,
    };
    let (key, found) = (key.to_owned(), found(value, is_secret));
    report.add(report.places.of(&key), Problem::Value { key, allowed, found });
}
