//! `fleet-server.reference.yml` and the table of the docs, both from the declarations.

use super::{
    Config,
    declare::State,
    schema::{Entry, Key, Presence, Schema},
    setting::Shown,
    show::flow,
};

/// The reference file: every key with effect, unit and default. What is unset by default, and sections that exist
/// only if somebody writes them, stand behind a `#` without a blank, so that taking it away sets them.
pub fn yaml() -> String {
    let mut page = Page {
        text: HEADER.to_owned(),
        sections: Vec::new(),
    };
    for entry in Schema::of::<Config>().entries() {
        match entry {
            Entry::Open {
                path,
                about,
                presence,
            } => page.open(path, about, *presence),
            Entry::Close => {
                page.sections.pop();
            }
            Entry::Key(key) => page.key(key),
        }
    }
    page.text
}

const HEADER: &str = "\
# Every key of fleet-server, with what it does, its unit and its default.
# Written by `fleet-server config reference`; do not edit by hand.
#
# A key after `#` without a blank is unset. Dotted keys equal nesting (`logging.level: debug`).
# Texts may hold ${NAME}, ${NAME:default}, ${NAME:+alternative} and ${NAME:?error}: a key of this file, else an
# environment variable. `$$` is one `$`. Durations: 500ms, 30s, 1h30m; a bare number is seconds.
";

struct Page {
    text: String,
    sections: Vec<Open>,
}

struct Open {
    is_commented: bool,
    /// Spaces before the keys of the section.
    indent: usize,
    /// What stands before the first key of a list item instead of spaces.
    dash_pending: bool,
}

impl Page {
    fn inside(&self) -> (usize, bool) {
        self.sections
            .last()
            .map_or((0, false), |open| (open.indent, open.is_commented))
    }

    fn comment(&mut self, indent: usize, lines: &str) {
        for line in lines.lines() {
            self.text.push_str(&format!("{}# {line}\n", " ".repeat(indent)));
        }
    }

    fn line(&mut self, is_commented: bool, content: &str) {
        let (indent, _) = self.inside();
        let dash = match self.sections.last_mut() {
            Some(open) if open.dash_pending => {
                open.dash_pending = false;
                true
            }
            _ => false,
        };
        let mark = if is_commented { "#" } else { "" };
        let (indent, dash) = if dash {
            (indent.saturating_sub(2), "- ")
        } else {
            (indent, "")
        };
        self.text
            .push_str(&format!("{}{mark}{dash}{content}\n", " ".repeat(indent)));
    }

    fn open(&mut self, path: &str, about: &str, presence: Presence) {
        let (indent, was_commented) = self.inside();
        let name = path.rsplit('.').next().unwrap_or(path);
        // The one input, a section named `0` inside, is a list item outside.
        if name == "0" {
            self.sections.push(Open {
                is_commented: was_commented,
                indent: indent + 2,
                dash_pending: true,
            });
            return;
        }
        let is_commented = was_commented || presence != Presence::Always;
        self.text.push('\n');
        self.comment(indent, about);
        if presence != Presence::Always && !was_commented {
            self.comment(indent, "There is no such section unless you write one.");
        }
        self.line(is_commented, &format!("{name}:"));
        let is_list = presence == Presence::List;
        let indent = indent + if is_list { 4 } else { 2 };
        self.sections.push(Open {
            is_commented,
            indent,
            dash_pending: is_list,
        });
    }

    fn key(&mut self, key: &Key) {
        let (indent, in_commented) = self.inside();
        let name = key.path.rsplit('.').next().unwrap_or(&key.path);
        self.comment(indent, &key.about);
        self.comment(indent, &facts(key));
        let is_unset = key.default.is_none();
        let value = key.default.as_ref().map(flow).unwrap_or_default();
        self.line(in_commented || is_unset, format!("{name}: {value}").trim_end());
    }
}

fn facts(key: &Key) -> String {
    let mut facts = Vec::new();
    if !key.unit.is_empty() {
        facts.push(format!("Unit: {}.", key.unit));
    }
    if key.default.is_none() {
        facts.push("Default: unset.".to_owned());
    }
    match key.state {
        State::Effective => {}
        State::Inert => facts.push("Has no effect in this version.".to_owned()),
        State::Partly(use_) => facts.push(format!("In this version it {use_}.")),
    }
    facts.join(" ")
}

/// The table of the docs, in Markdown.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\nWritten by `fleet-server config reference --format markdown`; do not edit by hand.\n\n\
         | Key | Default | Unit | Effect |\n|---|---|---|---|\n",
    );
    for key in Schema::of::<Config>().keys() {
        let default = match &key.default {
            None => "–".to_owned(),
            Some(Shown::List(items)) if items.is_empty() => "`[]`".to_owned(),
            Some(shown) => format!("`{}`", flow(shown)),
        };
        let about = key.about.replace('\n', " ").replace('|', "\\|");
        let state = match key.state {
            State::Effective => String::new(),
            State::Inert => " *Has no effect in this version.*".to_owned(),
            State::Partly(use_) => format!(" *In this version it {use_}.*"),
        };
        text.push_str(&format!(
            "| `{}` | {default} | {} | {about}{state} |\n",
            key.path, key.unit
        ));
    }
    text
}
