//! `agents watch`: the fleet as it changes. On a terminal a table that is drawn anew, elsewhere a line for each change.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::show::{Order, columns, host};
use crate::{
    fault::Fault,
    output::{Format, Output, table, text},
    resolve::{FilterArgs, Policies},
    server::Api,
};

pub(super) fn watch(
    filter: &FilterArgs,
    limit: Option<usize>,
    interval: Duration,
    format: Format,
    api: &Api<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let order = Order {
        search: None,
        inactive: true,
        sort: None,
    };
    let lines = out.terminal.height.filter(|_| format == Format::Table);
    let mut seen = HashMap::new();
    loop {
        let begun = Instant::now();
        let policies = Policies::read(api)?;
        let query = order.query(filter, &policies)?;
        // What does not fit is not asked for.
        let fits = lines.map_or(usize::MAX, |lines| usize::from(lines).saturating_sub(4).max(1));
        let items = api.all("/api/fleet/agents", &query, limit.unwrap_or(usize::MAX).min(fits))?;
        match lines {
            Some(_) => draw(&items, &policies, api, out)?,
            None => tell(&items, &policies, format, &mut seen, out)?,
        }
        pause(interval.saturating_sub(begun.elapsed()));
    }
}

fn draw(items: &[Value], policies: &Policies, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    let counts = api.get("/api/fleet/agent_status")?;
    let of = |name: &str| text(&counts["results"][name]);
    let columns: Vec<_> = columns(policies)
        .into_iter()
        .filter(|column| !column.wide)
        .collect();
    let rows = items
        .iter()
        .map(|item| columns.iter().map(|column| (column.cell)(item)).collect());
    let heads = columns.iter().map(|column| column.title.to_owned()).collect();
    let table = table(heads, rows, out.terminal.width);
    let height = usize::from(out.terminal.height.unwrap_or(u16::MAX)).saturating_sub(3);
    let shown: Vec<&str> = table.lines().take(height).collect();
    let (clear, below) = ("\u{1b}[H\u{1b}[J", shown.join("\n"));
    let head = format!(
        "{} agents: {} online, {} updating, {} error, {} offline (ctrl-C ends)",
        of("active"),
        of("online"),
        of("updating"),
        of("error"),
        of("offline")
    );
    Ok(out.raw(&format!("{clear}{head}\n\n{below}\n"))?)
}

/// A line for each agent that is not as it was.
fn tell(
    items: &[Value],
    policies: &Policies,
    format: Format,
    seen: &mut HashMap<String, String>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let mut gone: Vec<String> = seen.keys().cloned().collect();
    for item in items {
        let id = text(&item["id"]);
        gone.retain(|gone| *gone != id);
        let policy_id = text(&item["policy_id"]);
        let state = format!(
            "{} {} {}:{} {}",
            host(item),
            text(&item["status"]),
            policies.name(&policy_id),
            text(&item["policy_revision"]),
            text(&item["agent"]["version"])
        );
        if seen.get(&id) == Some(&state) {
            continue;
        }
        match format {
            Format::Json | Format::Yaml => out.json_line(item)?,
            Format::Name => out.line(&id)?,
            Format::Table | Format::Wide => out.line(&format!("{id} {state}"))?,
        }
        seen.insert(id, state);
    }
    for id in gone {
        seen.remove(&id);
        if matches!(format, Format::Table | Format::Wide) {
            out.line(&format!("{id} gone"))?;
        }
    }
    Ok(out.raw("")?)
}

/// The server is asked again after this; it has nothing to wait on.
#[expect(
    clippy::disallowed_methods,
    reason = "a command that polls a server sleeps in between"
)]
fn pause(length: Duration) {
    thread::sleep(length);
}
