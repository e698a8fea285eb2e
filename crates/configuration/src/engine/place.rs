//! Where a value was set: a line of a file, a flag, or the program itself.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The source of a value. Ordered as sources are read: one after the other, files line by line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    source: usize,
    line: usize,
    name: Arc<str>,
}

impl Place {
    /// The `source`-th thing that is read; `line` from 1, or 0 where there are no lines.
    pub(crate) fn new(source: usize, name: &str, line: usize) -> Self {
        let name = name.into();
        Self { source, line, name }
    }

    /// The place of built-in values.
    pub(crate) fn built_in() -> Self {
        Self::new(0, "built-in default", 0)
    }

    /// Another line of the same source.
    pub(crate) fn at(&self, line: usize) -> Self {
        Self { line, ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.name),
            line => write!(f, "{}:{line}", self.name),
        }
    }
}

/// Where each key and section was set last, by dotted path; built-in defaults are not included.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    pub(crate) fn insert(&mut self, path: String, place: Place) {
        self.0.insert(path, place);
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The place of the key itself, if somebody said it.
    pub(crate) fn exactly(&self, path: &str) -> Option<Place> {
        self.0.get(path).cloned()
    }

    /// The place of the key itself, else of its neighbour, else of its section.
    pub(crate) fn of(&self, path: &str) -> Place {
        let mut around = path;
        let mut found = self.0.get(path);
        while found.is_none()
            && let Some((outer, _)) = around.rsplit_once('.')
        {
            let inside = format!("{outer}.");
            found = self
                .0
                .range(inside.clone()..)
                .next()
                .filter(|(key, _)| key.starts_with(&inside))
                .map(|(_, place)| place)
                .or_else(|| self.0.get(outer));
            around = outer;
        }
        found.cloned().unwrap_or_else(Place::built_in)
    }
}
