//! The agents that a change is about: ids or a filter, counted before anything is done.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use crate::{
    fault::Fault,
    output::text,
    resolve::{FilterArgs, Policies},
    server::{Api, Query},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// Ids of agents; else a filter, or --all
    agents: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Every agent
    #[arg(long)]
    all: bool,
    /// Do it to more than a tenth of the fleet without asking
    #[arg(long)]
    yes: bool,
}

/// Chosen agents, at least one.
pub(crate) enum Targets {
    Ids(Vec<String>),
    Kuery { kuery: String, count: u64 },
}

impl TargetArgs {
    /// Finds them, and asks before more than a tenth of the fleet is changed. `deed` completes "this would … 3 agents".
    pub(crate) fn choose(&self, deed: &str, policies: &Policies, api: &Api<'_>) -> Result<Targets, Fault> {
        let named = [!self.agents.is_empty(), !self.filter.is_empty(), self.all];
        if named.iter().filter(|named| **named).count() != 1 {
            return Err(Fault::Usage(
                "name the agents: by their ids, or by a filter such as --tag or --kuery, or --all of them"
                    .into(),
            ));
        }
        let targets = if self.agents.is_empty() {
            let kuery = self.filter.kuery(policies)?;
            let count = count(&kuery, api)?;
            Targets::Kuery { kuery, count }
        } else {
            let mut ids = self.agents.clone();
            ids.sort();
            ids.dedup();
            Targets::Ids(ids)
        };
        let count = targets.count();
        if count == 0 {
            return Err(Fault::NotFound {
                message: "no agent matches: nothing was done".into(),
            });
        }
        let active = api.get("/api/fleet/agent_status")?["results"]["active"].as_u64();
        let active = active.unwrap_or(0);
        if count > 1 && count * 10 > active && !self.yes {
            confirm(&format!(
                "this would {deed} {count} of {active} agents, more than a tenth"
            ))?;
        }
        Ok(targets)
    }
}

fn count(kuery: &str, api: &Api<'_>) -> Result<u64, Fault> {
    let mut query = Query::default();
    query.set("kuery", kuery);
    query.set("perPage", "1");
    let page = api.get(&format!("/api/fleet/agents?{}", query.0))?;
    Ok(page["total"].as_u64().unwrap_or(0))
}

fn confirm(what: &str) -> Result<(), Fault> {
    let (input, mut words) = (io::stdin(), io::stderr());
    if !input.is_terminal() || !words.is_terminal() {
        return Err(Fault::Usage(format!("{what}: give --yes if that is meant")));
    }
    write!(words, "{what}. Go on? [y/N] ")?;
    words.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Fault::Usage("nothing was done".into())),
    }
}

impl Targets {
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Ids(ids) => ids.len() as u64,
            Self::Kuery { count, .. } => *count,
        }
    }

    /// As the routes for many agents take them.
    pub(crate) fn body(&self) -> Value {
        match self {
            Self::Ids(ids) => json!(ids),
            Self::Kuery { kuery, .. } => json!(kuery),
        }
    }

    /// One after the other, for routes that take one.
    pub(crate) fn ids(self, api: &Api<'_>) -> Result<Vec<String>, Fault> {
        match self {
            Self::Ids(ids) => Ok(ids),
            Self::Kuery { kuery, .. } => {
                let mut query = Query::default();
                query.set("kuery", &kuery);
                let items = api.all("/api/fleet/agents", &query, usize::MAX)?;
                Ok(items.iter().map(|item| text(&item["id"])).collect())
            }
        }
    }
}
