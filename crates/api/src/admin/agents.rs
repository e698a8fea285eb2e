//! Agents: list, one, unenrol.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentId, Timestamp, agents};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    AdminState, One, agent_json::AgentItem, agent_query::filter, agent_status::summary, ok, query::Query,
};
use crate::{call::Call, error::ApiError};

/// Parameters of the list. `showUpgradeable` and `withMetrics` are Kibana's; they change nothing here.
const LIST: &[&str] = &[
    "page",
    "perPage",
    "searchAfter",
    "kuery",
    "policyId",
    "status",
    "search",
    "showInactive",
    "sortField",
    "sortOrder",
    "getStatusSummary",
    "showUpgradeable",
    "withMetrics",
];

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, LIST)?;
    let (paging, query, now) = (parameters.page()?, filter(&parameters)?, Timestamp::now());
    let page = agents::list(&state.fleet, &query, paging.request(), now).await?;
    let list = paging.envelope(page, AgentItem::from);
    if !parameters.flag("getStatusSummary")? {
        return ok(&list);
    }
    let counts = agents::counts(&state.fleet, &query, now).await?;
    let mut body = serde_json::to_value(&list).map_err(|_| ApiError::Broken("a list is no JSON".into()))?;
    if let Value::Object(members) = &mut body {
        members.insert("statusSummary".to_owned(), Value::Object(summary(&counts)));
    }
    ok(&body)
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let report = agents::get(&state.fleet, &AgentId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&One {
        item: AgentItem::from(report),
    })
}

#[derive(Deserialize)]
struct Unenroll {
    #[serde(default)]
    force: bool,
    #[serde(default)]
    revoke: bool,
}

pub(super) async fn unenroll(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    let wanted: Unenroll = state.json(&mut call, "unenroll").await?;
    let (agent, now) = (AgentId::from(call.id.as_str()), Timestamp::now());
    // As in Kibana, to revoke the agent's keys is to unenrol it without asking it.
    if wanted.force || wanted.revoke {
        agents::force_unenroll(&state.fleet, &agent, now).await?;
    } else {
        agents::unenroll(&state.fleet, &agent, now).await?;
    }
    ok(&Map::new())
}
