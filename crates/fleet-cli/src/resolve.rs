//! Policies by name or id, and the agents that options choose.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    fault::Fault,
    output::text,
    server::{Api, Query},
};

/// All policies, to find one by what an operator calls it and to show a policy's name for its id.
pub(crate) struct Policies {
    pub(crate) items: Vec<Value>,
    names: HashMap<String, String>,
}

impl Policies {
    pub(crate) fn read(api: &Api<'_>) -> Result<Self, Fault> {
        let mut query = Query::default();
        query.set("noAgentCount", "true");
        Self::read_with(api, &query)
    }

    /// With their agents counted.
    pub(crate) fn counted(api: &Api<'_>) -> Result<Self, Fault> {
        Self::read_with(api, &Query::default())
    }

    fn read_with(api: &Api<'_>, query: &Query) -> Result<Self, Fault> {
        let items = api.all("/api/fleet/agent_policies", query, usize::MAX)?;
        let names = items
            .iter()
            .map(|item| (text(&item["id"]), text(&item["name"])))
            .collect();
        Ok(Self { items, names })
    }

    /// The policy's name, or the id of one that is not known.
    pub(crate) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }

    /// The policy with this id, else the one with this name.
    pub(crate) fn find(&self, wanted: &str) -> Result<&Value, Fault> {
        if let Some(item) = self.items.iter().find(|item| item["id"] == wanted) {
            return Ok(item);
        }
        let mut named = self.items.iter().filter(|item| item["name"] == wanted);
        match (named.next(), named.next()) {
            (Some(item), None) => Ok(item),
            (None, _) => Err(Fault::not_found("policy", wanted, "see policy list")),
            (Some(one), Some(other)) => Err(Fault::Conflict {
                message: format!(
                    "more than one policy is named {wanted}, {} and {}: give the id",
                    text(&one["id"]),
                    text(&other["id"])
                ),
            }),
        }
    }

    /// The id of [`Policies::find`].
    pub(crate) fn id(&self, wanted: &str) -> Result<String, Fault> {
        Ok(text(&self.find(wanted)?["id"]))
    }
}

/// Which agents: conditions that must all hold.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FilterArgs {
    /// A query: field:value with and, or and brackets, for policy_id, status and tags
    #[arg(long, value_name = "QUERY")]
    kuery: Option<String>,
    /// One of these statuses, joined by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<String>,
    /// Name or id of their policy
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// A tag; may be repeated, all must be there
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
}

impl FilterArgs {
    pub(crate) fn is_empty(&self) -> bool {
        self.kuery.is_none() && self.status.is_empty() && self.policy.is_none() && self.tag.is_empty()
    }

    /// All conditions as one query of the API.
    pub(crate) fn kuery(&self, policies: &Policies) -> Result<String, Fault> {
        let mut parts = Vec::new();
        if let Some(kuery) = self.kuery.as_ref().filter(|kuery| !kuery.trim().is_empty()) {
            parts.push(format!("({kuery})"));
        }
        if !self.status.is_empty() {
            let any: Vec<String> = self.status.iter().map(|status| quoted(status)).collect();
            parts.push(format!("status:({})", any.join(" or ")));
        }
        if let Some(policy) = &self.policy {
            parts.push(format!("policy_id:{}", quoted(&policies.id(policy)?)));
        }
        parts.extend(self.tag.iter().map(|tag| format!("tags:{}", quoted(tag))));
        Ok(parts.join(" and "))
    }
}

/// A value in a query: whatever it holds stays one value.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}
