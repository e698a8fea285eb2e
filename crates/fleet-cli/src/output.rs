//! How data is shown: tables for people, JSON, YAML and ids for programs. Text that came from anybody never reaches a
//! terminal with control characters in it, in any of the formats.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use notation::{
    terminal::{harmless, is_harmful},
    yaml,
};
use serde_json::Value;

/// What standard output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Columns, if it is a terminal.
    pub width: Option<u16>,
    /// Lines, if it is a terminal.
    pub height: Option<u16>,
    /// Whether colours are welcome.
    pub colour: bool,
}

impl Terminal {
    /// Standard output of this process. Colours only on a terminal, and not where `NO_COLOR` is set.
    #[must_use]
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::default();
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let some = |size: u16| Some(size).filter(|size| *size > 0);
        Self {
            width: size.and_then(|size| some(size.ws_col)),
            height: size.and_then(|size| some(size.ws_row)),
            colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        }
    }
}

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// A table with more columns
    Wide,
    /// What the server answered, as JSON
    Json,
    /// The same as YAML
    Yaml,
    /// Ids, one a line
    Name,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// How to show it
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true,
        help = "table, wide, json, yaml or name"
    )]
    pub(crate) format: Format,
}

/// A column of a table, or a line of what is shown of one item.
pub(crate) struct Column<'a> {
    pub(crate) title: &'static str,
    /// Only with `-o wide`.
    pub(crate) wide: bool,
    pub(crate) cell: Box<dyn Fn(&Value) -> String + 'a>,
}

pub(crate) fn column<'a>(title: &'static str, cell: impl Fn(&Value) -> String + 'a) -> Column<'a> {
    Column {
        title,
        wide: false,
        cell: Box::new(cell),
    }
}

impl Column<'_> {
    pub(crate) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }
}

/// A member as a cell: text as it is, nothing as nothing, lists joined.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Where a command's data goes.
pub(crate) struct Output<'a> {
    out: &'a mut dyn Write,
    pub(crate) terminal: Terminal,
}

impl<'a> Output<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, terminal: Terminal) -> Self {
        Self { out, terminal }
    }

    /// A list, in the order given.
    pub(crate) fn list(&mut self, format: Format, items: &[Value], columns: &[Column<'_>]) -> io::Result<()> {
        match format {
            Format::Table | Format::Wide => {
                let shown: Vec<_> = columns
                    .iter()
                    .filter(|column| !column.wide || format == Format::Wide)
                    .collect();
                let heads = shown.iter().map(|column| column.title.to_owned());
                let rows = items
                    .iter()
                    .map(|item| shown.iter().map(|column| (column.cell)(item)).collect());
                let table = table(heads.collect(), rows, self.terminal.width);
                self.out.write_all(table.as_bytes())
            }
            Format::Json => self.json(&Value::from(items)),
            Format::Yaml => self.yaml(&Value::from(items)),
            Format::Name => items.iter().try_for_each(|item| self.line(&text(&item["id"]))),
        }
    }

    /// One item: its fields one a line, or all of it.
    pub(crate) fn one(&mut self, format: Format, item: &Value, columns: &[Column<'_>]) -> io::Result<()> {
        match format {
            Format::Table | Format::Wide => {
                let width = columns.iter().map(|column| column.title.len()).max().unwrap_or(0);
                for column in columns {
                    let cell = (column.cell)(item);
                    if !cell.is_empty() {
                        writeln!(self.out, "{:width$}  {}", column.title, harmless(&cell))?;
                    }
                }
                Ok(())
            }
            Format::Json => self.json(item),
            Format::Yaml => self.yaml(item),
            Format::Name => self.line(&text(&item["id"])),
        }
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        let text = format!("{value:#}\n");
        self.out.write_all(escaped(&text).as_bytes())
    }

    /// A value on one line.
    pub(crate) fn json_line(&mut self, value: &Value) -> io::Result<()> {
        self.out.write_all(escaped(&format!("{value}\n")).as_bytes())
    }

    pub(crate) fn yaml(&mut self, value: &Value) -> io::Result<()> {
        self.out.write_all(yaml::write(value).as_bytes())
    }

    /// A sentence or an id on a line of its own.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", harmless(text))
    }

    /// For bytes that are not shown: a file.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Text of several lines that is known to be harmless.
    pub(crate) fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// JSON whose strings hold no character that a terminal could obey.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for found in json.chars() {
        if found != '\n' && is_harmful(found) {
            // Only strings have such characters, and there all of them may be written so.
            escaped.push_str(&format!("\\u{:04x}", u32::from(found)));
        } else {
            escaped.push(found);
        }
    }
    escaped
}

/// A table without lines; the cells wrap where the terminal is too narrow.
pub(crate) fn table(
    heads: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
    width: Option<u16>,
) -> String {
    let count = heads.len();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    match width {
        Some(width) => {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| harmless(cell).into_owned()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index + 1 == count { 0 } else { 2 }));
        column.set_cell_alignment(CellAlignment::Left);
        if width.is_some() {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(4)));
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(format: Format, width: Option<u16>) -> String {
        let items = [
            json!({"id": "a1", "host": "web-1\u{1b}[2J", "tags": ["x", "y\u{9b}"], "n": 3}),
            json!({"id": "a2", "host": "a-rather-long-host-name.example.com", "tags": [], "n": null}),
        ];
        let columns = [
            column("ID", |item| text(&item["id"])),
            column("HOST", |item| text(&item["host"])),
            column("N", |item| text(&item["n"])),
            column("TAGS", |item| text(&item["tags"])).wide(),
        ];
        let (mut out, terminal) = (
            Vec::new(),
            Terminal {
                width,
                ..Terminal::default()
            },
        );
        Output::new(&mut out, terminal)
            .list(format, &items, &columns)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_format_shows_the_same_without_control_characters() {
        insta::assert_snapshot!(shown(Format::Table, None), @r"
        ID  HOST                                 N
        a1  web-1\u{1b}[2J                       3
        a2  a-rather-long-host-name.example.com
        ");
        insta::assert_snapshot!(shown(Format::Wide, None), @r"
        ID  HOST                                 N  TAGS
        a1  web-1\u{1b}[2J                       3  x,y\u{9b}
        a2  a-rather-long-host-name.example.com
        ");
        insta::assert_snapshot!(shown(Format::Yaml, None), @r#"
        - id: a1
          host: "web-1\u001b[2J"
          tags:
            - x
            - "y\u009b"
          "n": 3
        - id: a2
          host: a-rather-long-host-name.example.com
          tags: []
          "n": null
        "#);
        insta::assert_snapshot!(shown(Format::Name, None), @r"
        a1
        a2
        ");
        let json = shown(Format::Json, None);
        assert!(
            json.contains(r"web-1\u001b[2J") && json.contains(r"y\u009b"),
            "{json}"
        );
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read[0]["tags"][1], "y\u{9b}");
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let text = shown(Format::Wide, Some(40));
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        assert!(text.contains("a1") && text.contains("com"), "{text}");
    }
}
