//! `agents list` and `agents get`.

use serde_json::Value;

use crate::{
    fault::Fault,
    output::{Column, Format, Output, column, text},
    resolve::{FilterArgs, Policies},
    server::{Api, Query, segment},
};

/// What narrows and orders a list beside the filter.
pub(super) struct Order<'a> {
    pub(super) search: Option<&'a str>,
    pub(super) inactive: bool,
    pub(super) sort: Option<&'a str>,
}

impl Order<'_> {
    pub(super) fn query(&self, filter: &FilterArgs, policies: &Policies) -> Result<Query, Fault> {
        let mut query = Query::default();
        query.set("kuery", &filter.kuery(policies)?);
        query.set("search", self.search.unwrap_or_default());
        query.set("showInactive", if self.inactive { "true" } else { "false" });
        query.set("sortField", self.sort.unwrap_or_default());
        Ok(query)
    }
}

pub(super) fn list(
    filter: &FilterArgs,
    order: &Order<'_>,
    limit: usize,
    format: Format,
    api: &Api<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let policies = Policies::read(api)?;
    let items = api.all("/api/fleet/agents", &order.query(filter, &policies)?, limit)?;
    Ok(out.list(format, &items, &columns(&policies))?)
}

pub(super) fn get(agent: &str, format: Format, api: &Api<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    let policies = Policies::read(api)?;
    let item = api.item(&format!("/api/fleet/agents/{}", segment(agent)))?;
    let mut columns = columns(&policies);
    columns.extend([
        column("UNHEALTHY", |item| text(&item["unhealthy_reason"])),
        column("COMPONENTS", components),
        column("UPGRADE", |item| text(&item["upgrade_details"]["state"])),
        column("UNENROLLED", |item| text(&item["unenrolled_at"])),
        column("GONE", |item| text(&item["audit_unenrolled_reason"])),
    ]);
    Ok(out.one(format, &item, &columns)?)
}

pub(super) fn columns(policies: &Policies) -> Vec<Column<'_>> {
    vec![
        column("ID", |item| text(&item["id"])),
        column("HOST", host),
        column("STATUS", |item| text(&item["status"])),
        column("POLICY", |item| {
            policies.name(&text(&item["policy_id"])).to_owned()
        }),
        column("REV", |item| text(&item["policy_revision"])),
        column("VERSION", |item| text(&item["agent"]["version"])),
        column("LAST CHECK-IN", |item| text(&item["last_checkin"])),
        column("TAGS", |item| text(&item["tags"])).wide(),
        column("ENROLLED", |item| text(&item["enrolled_at"])).wide(),
        column("MESSAGE", |item| text(&item["last_checkin_message"])).wide(),
    ]
}

pub(super) fn host(item: &Value) -> String {
    let host = &item["local_metadata"]["host"];
    match &host["hostname"] {
        Value::Null => text(&host["name"]),
        name => text(name),
    }
}

/// Each component with its state, those in trouble with their words.
fn components(item: &Value) -> String {
    let components = item["components"].as_array();
    let shown = components.into_iter().flatten().map(|component| {
        let (id, status) = (text(&component["id"]), text(&component["status"]));
        match status.as_str() {
            "HEALTHY" => format!("{id} HEALTHY"),
            _ => format!("{id} {status} ({})", text(&component["message"])),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}
