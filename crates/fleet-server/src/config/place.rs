//! Where a value was said: a line of a file, a flag, or the program itself.

use std::{collections::HashMap, fmt, path::PathBuf};

/// Where a value comes from, as error texts name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// What the program takes when nobody says anything.
    BuiltIn,
    /// A sub-command's own choice, below every file and flag.
    Overlay(&'static str),
    /// A line of a configuration file.
    File {
        /// The file as it was named on the command line.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A flag of the command line, without its value (it may be a secret).
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in default"),
            Self::Overlay(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A place, as it travels through the layers (the `config` crate carries one string with each value).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(usize);

impl PlaceId {
    /// The built-in defaults; every [`Places`] begins with them.
    pub const BUILT_IN: Self = Self(0);

    /// What `config` carries.
    pub fn to_origin(self) -> String {
        self.0.to_string()
    }

    /// Back from what `config` carried.
    pub fn from_origin(origin: Option<&str>) -> Self {
        Self(origin.and_then(|text| text.parse().ok()).unwrap_or(0))
    }
}

/// All places of one load, in the order in which they were read.
#[derive(Debug)]
pub struct Places {
    known: Vec<Place>,
    lines: HashMap<(PathBuf, usize), PlaceId>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            known: vec![Place::BuiltIn],
            lines: HashMap::new(),
        }
    }
}

impl Places {
    /// Remembers a place.
    pub fn add(&mut self, place: Place) -> PlaceId {
        if let Place::File { path, line } = &place
            && let Some(id) = self.lines.get(&(path.clone(), *line))
        {
            return *id;
        }
        let id = PlaceId(self.known.len());
        if let Place::File { path, line } = &place {
            self.lines.insert((path.clone(), *line), id);
        }
        self.known.push(place);
        id
    }

    /// The order in which places were met, files line by line.
    pub fn rank(&self, place: &Place) -> (usize, usize) {
        let same_source = |known: &Place| match (known, place) {
            (Place::File { path: known, .. }, Place::File { path, .. }) => known == path,
            (known, place) => known == place,
        };
        let source = self
            .known
            .iter()
            .position(same_source)
            .unwrap_or(self.known.len());
        let line = if let Place::File { line, .. } = place {
            *line
        } else {
            0
        };
        (source, line)
    }

    /// The place behind an id.
    pub fn get(&self, id: PlaceId) -> Place {
        self.known.get(id.0).cloned().unwrap_or(Place::BuiltIn)
    }
}
