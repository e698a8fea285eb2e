//! From the merged, substituted tree to typed sections. Nothing stops at the first problem: what can not be read
//! takes its default, and the problem is kept.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::{
    declare::Check,
    node::join,
    place::{Place, PlaceId, Places},
    problem::Problem,
    setting::{Refusal, Setting, found, items_by_index},
};

/// What reading leaves behind besides the values.
#[derive(Debug)]
pub struct Reading<'p> {
    places: &'p Places,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Every key that somebody set, and where.
    pub set: BTreeMap<String, PlaceId>,
}

impl<'p> Reading<'p> {
    /// Nothing read yet.
    pub fn new(places: &'p Places) -> Self {
        Self {
            places,
            problems: Vec::new(),
            set: BTreeMap::new(),
        }
    }

    /// Where a key was set, else where anything of its section was, else the built-in default.
    pub fn place_of(&self, path: &str) -> Place {
        let inside = || {
            let section = path.rsplit_once('.').map(|(section, _)| format!("{section}."))?;
            self.set
                .iter()
                .find(|(key, _)| key.starts_with(&section))
                .map(|(_, place)| place)
        };
        let id = self
            .set
            .get(path)
            .or_else(inside)
            .copied()
            .unwrap_or(PlaceId::BUILT_IN);
        self.places.get(id)
    }
}

/// A cursor in the tree.
#[derive(Debug)]
pub struct Reader<'a, 'p> {
    value: Option<&'a Value>,
    path: String,
    reading: &'a mut Reading<'p>,
}

impl<'a, 'p> Reader<'a, 'p> {
    /// At the root.
    pub fn new(root: &'a Value, reading: &'a mut Reading<'p>) -> Self {
        Self {
            value: Some(root),
            path: String::new(),
            reading,
        }
    }

    fn child(&self, name: &str) -> Option<&'a Value> {
        match &self.value?.kind {
            ValueKind::Table(table) => table.get(name).filter(|value| value.kind != ValueKind::Nil),
            _ => None,
        }
    }

    /// Reads one key; called by `section!`.
    pub fn key<T: Setting>(&mut self, name: &str, default: T, checks: &[&Check<T>]) -> T {
        let Some(value) = self.child(name) else {
            return default;
        };
        let key = join(&self.path, name);
        let id = PlaceId::from_origin(value_origin(value));
        if id != PlaceId::BUILT_IN {
            self.reading.set.insert(key.clone(), id);
        }
        let read = T::from_value(value).and_then(|read| {
            checks
                .iter()
                .try_for_each(|check| check(&read).map_err(Refusal::MustBe))
                .map(|()| read)
        });
        match read {
            Ok(read) => read,
            Err(refusal) => {
                let place = self.reading.places.get(id);
                self.reading.problems.push(match refusal {
                    Refusal::MustBe(allowed) => {
                        let found = if T::IS_SECRET {
                            "something else".to_owned()
                        } else {
                            found(value)
                        };
                        Problem::Value {
                            place,
                            key,
                            allowed,
                            found,
                        }
                    }
                    Refusal::Because(sentence) => Problem::Refused { place, key, sentence },
                });
                default
            }
        }
    }

    /// Reads a section that is always there.
    pub fn inside<S>(&mut self, name: &str, read: impl FnOnce(&mut Reader<'_, 'p>) -> S) -> S {
        let value = self.section(name);
        read(&mut Reader {
            value,
            path: join(&self.path, name),
            reading: self.reading,
        })
    }

    /// Reads a section that is there only if somebody wrote it.
    pub fn inside_if_present<S>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Reader<'_, 'p>) -> S,
    ) -> Option<S> {
        let value = self.section(name)?;
        let path = join(&self.path, name);
        Some(read(&mut Reader {
            value: Some(value),
            path,
            reading: self.reading,
        }))
    }

    /// Reads a list of sections.
    pub fn inside_each<S>(&mut self, name: &str, mut read: impl FnMut(&mut Reader<'_, 'p>) -> S) -> Vec<S> {
        let path = join(&self.path, name);
        let items: Vec<&'a Value> = match self.child(name).map(|value| (&value.kind, value)) {
            None => return Vec::new(),
            Some((ValueKind::Array(items), _)) => items.iter().collect(),
            Some((ValueKind::Table(table), value)) => match items_by_index(table) {
                Ok(items) => items,
                Err(_) => {
                    self.wrong_shape(&path, "a list of sections, numbered from 0 without a gap", value);
                    return Vec::new();
                }
            },
            Some((_, value)) => {
                self.wrong_shape(&path, "a list of sections", value);
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = join(&path, &index.to_string());
            if matches!(item.kind, ValueKind::Table(_)) {
                sections.push(read(&mut Reader {
                    value: Some(item),
                    path,
                    reading: self.reading,
                }));
            } else {
                self.wrong_shape(&path, "a section with keys", item);
            }
        }
        sections
    }

    fn section(&mut self, name: &str) -> Option<&'a Value> {
        let value = self.child(name)?;
        match &value.kind {
            ValueKind::Table(_) => Some(value),
            ValueKind::String(text) if text.is_empty() => None,
            _ => {
                self.wrong_shape(&join(&self.path, name), "a section with keys", value);
                None
            }
        }
    }

    fn wrong_shape(&mut self, key: &str, allowed: &str, value: &Value) {
        let place = self.reading.places.get(PlaceId::from_origin(value_origin(value)));
        let (key, allowed) = (key.to_owned(), allowed.to_owned());
        self.reading.problems.push(Problem::Value {
            place,
            key,
            allowed,
            found: found(value),
        });
    }
}

/// Where a value stands: a list merged by `config` may have lost its own origin, its items have not.
fn value_origin(value: &Value) -> Option<&str> {
    value.origin().or_else(|| match &value.kind {
        ValueKind::Array(items) => items.iter().find_map(value_origin),
        ValueKind::Table(table) => table.values().find_map(value_origin),
        _ => None,
    })
}
