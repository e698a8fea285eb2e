//! Every key, collected from the declarations: what a path names, and which key a misspelt one probably means.

use std::collections::BTreeMap;

use super::{
    kind::Kind,
    section::{Declared, Part, Presence, Section, Visit},
    setting::{Setting, Shape, Shown},
};

#[derive(Clone, Debug)]
pub(crate) enum Named {
    Section(Presence),
    Key {
        shape: Shape,
        /// The default, if it is a single value.
        default: Option<String>,
        /// The only effect that it has, if it has less than in the original.
        only: Option<&'static str>,
    },
    Inert(Kind),
}

/// All paths, with `*` for the number of a list item.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    named: BTreeMap<String, Named>,
    path: String,
}

impl Schema {
    /// The keys of `S`, and those without effect.
    pub(crate) fn of<S: Section>(inert: impl Iterator<Item = (String, Kind)>) -> Self {
        let mut schema = Self::default();
        S::default().walk(&mut schema);
        for (path, kind) in inert {
            let mut around = path.as_str();
            while let Some((outer, _)) = around.rsplit_once('.') {
                let section = || Named::Section(Presence::Always);
                schema.named.entry(pattern(outer)).or_insert_with(section);
                around = outer;
            }
            schema.named.insert(pattern(&path), Named::Inert(kind));
        }
        schema
    }

    /// The key or section at a concrete path.
    pub(crate) fn get(&self, path: &str) -> Option<&Named> {
        self.named.get(&pattern(path))
    }

    /// Whether a section is a list of exactly one.
    pub(crate) fn is_one(&self, path: &str) -> bool {
        matches!(self.get(path), Some(Named::Section(Presence::One)))
    }

    /// The shape of a key.
    pub(crate) fn shape(&self, path: &str) -> Option<Shape> {
        match self.get(path)? {
            Named::Section(_) => None,
            Named::Key { shape, .. } => Some(*shape),
            Named::Inert(kind) => Some(kind.shape),
        }
    }

    /// The keys with less effect than in the original.
    pub(crate) fn partly(&self) -> impl Iterator<Item = (String, &'static str)> {
        self.named.iter().filter_map(|(path, named)| match named {
            Named::Key { only: Some(only), .. } => Some((path.replace('*', "0"), *only)),
            _ => None,
        })
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self
            .named
            .iter()
            .filter(|(_, named)| matches!(named, Named::Key { .. }));
        keys.map(|(path, _)| path.as_str())
    }

    /// The known key or section that was probably meant; `None` if nothing is close.
    pub(crate) fn nearest(&self, path: &str) -> Option<String> {
        let path = pattern(path);
        let (parent, name) = split(&path);
        let length = name.chars().count();
        let concrete = |known: &String| known.replace('*', "0");
        let away = |known: &str| strsim::damerau_levenshtein(split(known).1, name);
        // A misspelling in the right section.
        let here = self.named.keys().filter(|known| split(known).0 == parent);
        let nearest = here
            .map(|known| (away(known), known))
            .min_by_key(|(distance, _)| *distance);
        if let Some((distance, known)) = nearest
            && distance <= (length / 3).max(1)
        {
            return Some(concrete(known));
        }
        // The right name at the wrong depth (`server.port` at the top). Two such places are no hint.
        let is_around =
            |outer: &str| outer.is_empty() || parent == outer || parent.starts_with(&format!("{outer}."));
        let is_inside = |inner: &str| parent.is_empty() || inner.starts_with(&format!("{parent}."));
        let mut elsewhere = self.named.keys().filter(|known| {
            let around = split(known).0;
            (is_around(around) || is_inside(around)) && away(known) <= length / 4
        });
        match (elsewhere.next(), elsewhere.next()) {
            (Some(known), None) => Some(concrete(known)),
            _ => None,
        }
    }
}

impl Visit for Schema {
    fn key<T: Setting>(&mut self, declared: &Declared, value: &mut T, _: &dyn Fn(&T) -> Result<(), String>) {
        let default = match value.shown() {
            Some(Shown::Bare(text) | Shown::Text(text)) => Some(text),
            _ => None,
        };
        let named = Named::Key {
            shape: T::SHAPE,
            default,
            only: declared.only,
        };
        self.named.insert(join(&self.path, declared.name), named);
    }

    fn part<P: Part>(&mut self, declared: &Declared, part: &mut P) {
        let outer = self.path.clone();
        self.path = join(&outer, declared.name);
        self.named.insert(self.path.clone(), Named::Section(P::PRESENCE));
        if matches!(P::PRESENCE, Presence::One | Presence::List) {
            self.path.push_str(".*");
            self.named
                .insert(self.path.clone(), Named::Section(Presence::Always));
        }
        part.resize(1);
        part.items().iter_mut().for_each(|item| item.walk(self));
        self.path = outer;
    }
}

/// Parent and last name of a dotted path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn pattern(path: &str) -> String {
    let parts = path.split('.').map(|part| {
        match !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => "*",
            false => part,
        }
    });
    parts.collect::<Vec<_>>().join(".")
}

/// `name` below `path`.
pub(crate) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;
    use crate::{Config, inert};

    #[test]
    fn a_hint_is_a_near_key_or_none() {
        let schema = Schema::of::<Config>(inert::keys());
        for (unknown, hint) in [
            // A misspelling in the right section.
            ("http.prot", Some("http.port")),
            ("inputs.0.server.ssl.keys", Some("inputs.0.server.ssl.key")),
            ("output.elasticsearch.host", Some("output.elasticsearch.hosts")),
            (
                "inputs.0.server.timeouts.raed",
                Some("inputs.0.server.timeouts.read"),
            ),
            // The right name at another depth.
            ("server", Some("inputs.0.server")),
            ("sevrer", Some("inputs.0.server")),
            ("inputs.0.timeouts", Some("inputs.0.server.timeouts")),
            ("inputs.0.server.logging.level", None),
            ("inputs.0.server.bootstrap", Some("bootstrap")),
            // Nothing close, or too many candidates.
            ("unknwn", None),
            ("zzz", None),
            ("inputs.0.server.unknwn", None),
            ("output.elasticsearch.username", None),
            ("output.elasticsearch.password", None),
            ("port", None),
            ("ssl", None),
        ] {
            assert_eq!(schema.nearest(unknown).as_deref(), hint, "{unknown}");
        }
    }
}
