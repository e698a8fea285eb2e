//! `fleet-server.reference.yml` and the table of the docs, both from the declarations.

use super::{
    schema::join,
    section::{Declared, Part, Presence, Section, Visit},
    setting::Setting,
    show::flow,
};
use crate::{Config, inert};

/// The reference file: every key that has an effect, with what it does, its unit and its default; then the names of
/// the others. Keys that are unset by default, and optional sections, follow a `#`
/// without a blank, so that taking it away sets them.
pub fn yaml() -> String {
    let mut page = Page {
        text: HEADER.to_owned(),
        indent: 0,
        is_commented: false,
        dash_pending: false,
    };
    Config::default().walk(&mut page);
    page.text.push_str("\n# Without effect in this version: checked, then not used. A note at the start names those that are set.\n");
    for (section, keys) in inert::by_section() {
        page.text
            .push_str(&format!("#   {section}: {}\n", keys.join(", ")));
    }
    page.text
}

const HEADER: &str = "\
# Every key of fleet-server, with what it does, its unit and its default; at the end those without effect yet.
# Written by `fleet-server config reference`; do not edit by hand.
#
# A key after `#` without a blank is unset. Dotted keys equal nesting (`logging.level: debug`).
# Texts may hold ${NAME}, ${NAME:default}, ${NAME:+alternative} and ${NAME:?error}: a key of this file, else an
# environment variable. `$$` is one `$`. Durations: 500ms, 30s, 1h30m; a bare number is seconds.
";

struct Page {
    text: String,
    /// Spaces before the keys of the section.
    indent: usize,
    is_commented: bool,
    /// Whether a list item begins, whose first key has a dash.
    dash_pending: bool,
}

impl Page {
    fn comment(&mut self, lines: &str) {
        for line in lines.lines() {
            self.text
                .push_str(&format!("{}# {}\n", " ".repeat(self.indent), line.trim()));
        }
    }

    fn line(&mut self, is_commented: bool, content: &str) {
        let dash = std::mem::take(&mut self.dash_pending);
        let indent = " ".repeat(self.indent - if dash { 2 } else { 0 });
        let (mark, dash) = (if is_commented { "#" } else { "" }, if dash { "- " } else { "" });
        self.text.push_str(&format!("{indent}{mark}{dash}{content}\n"));
    }
}

impl Visit for Page {
    fn key<T: Setting>(&mut self, declared: &Declared, value: &mut T, _: &dyn Fn(&T) -> Result<(), String>) {
        self.comment(declared.about);
        let (unit, default) = (unit::<T>(declared), value.shown());
        let facts = [
            (!unit.is_empty()).then(|| format!("Unit: {unit}.")),
            default.is_none().then(|| "Default: unset.".to_owned()),
            declared
                .only
                .map(|only| format!("In this version it only {only}.")),
        ];
        self.comment(&facts.into_iter().flatten().collect::<Vec<_>>().join(" "));
        let shown = default.as_ref().map(flow).unwrap_or_default();
        let line = format!("{}: {shown}", declared.name);
        self.line(self.is_commented || default.is_none(), line.trim_end());
    }

    fn part<P: Part>(&mut self, declared: &Declared, part: &mut P) {
        let (indent, was_commented) = (self.indent, self.is_commented);
        self.text.push('\n');
        self.comment(declared.about);
        if matches!(P::PRESENCE, Presence::Optional | Presence::List) {
            if !was_commented {
                self.comment("There is no such section unless you write one.");
            }
            self.is_commented = true;
        }
        self.line(self.is_commented, &format!("{}:", declared.name));
        self.dash_pending = matches!(P::PRESENCE, Presence::One | Presence::List);
        self.indent += if self.dash_pending { 4 } else { 2 };
        part.resize(1);
        part.items().iter_mut().for_each(|item| item.walk(self));
        (self.indent, self.is_commented) = (indent, was_commented);
    }
}

fn unit<T: Setting>(declared: &Declared) -> &'static str {
    declared.unit.unwrap_or(T::UNIT)
}

/// The table of the docs, in Markdown.
pub fn markdown() -> String {
    let mut table = Table {
        text: TABLE.to_owned(),
        path: String::new(),
    };
    Config::default().walk(&mut table);
    table
        .text
        .push_str("\nKnown and checked, without effect in this version:\n\n");
    for (section, keys) in inert::by_section() {
        table
            .text
            .push_str(&format!("- `{section}`: {}\n", keys.join(", ")));
    }
    table.text
}

const TABLE: &str = "\
# Configuration

Written by `fleet-server config reference --format markdown`; do not edit by hand.

| Key | Default | Unit | Effect |
|---|---|---|---|
";

struct Table {
    text: String,
    path: String,
}

impl Visit for Table {
    fn key<T: Setting>(&mut self, declared: &Declared, value: &mut T, _: &dyn Fn(&T) -> Result<(), String>) {
        let (key, unit) = (join(&self.path, declared.name), unit::<T>(declared));
        let default = value
            .shown()
            .map_or("–".to_owned(), |shown| format!("`{}`", flow(&shown)));
        let about: Vec<&str> = declared.about.lines().map(str::trim).collect();
        let about = about.join(" ").replace('|', "\\|");
        let only = declared.only.map_or(String::new(), |only| {
            format!(" *In this version it only {only}.*")
        });
        self.text
            .push_str(&format!("| `{key}` | {default} | {unit} | {about}{only} |\n"));
    }

    fn part<P: Part>(&mut self, declared: &Declared, part: &mut P) {
        let outer = self.path.clone();
        self.path = join(&outer, declared.name);
        match P::PRESENCE {
            Presence::One => self.path.push_str(".0"),
            Presence::List => self.path.push_str(".*"),
            Presence::Always | Presence::Optional => {}
        }
        part.resize(1);
        part.items().iter_mut().for_each(|item| item.walk(self));
        self.path = outer;
    }
}
