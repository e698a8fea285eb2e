//! Where a value was said: a line of a file, a flag, or nowhere but in the program.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Where a value stands. Places are ordered as they are read: sources in turn, files line by line.
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

    /// The program itself.
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

/// Where each key and section was said last, by dotted path: what somebody said, and no built-in default.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    pub(crate) fn insert(&mut self, path: String, place: Place) {
        self.0.insert(path, place);
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Of the key itself, else of what stands beside it, else of the section around it.
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
