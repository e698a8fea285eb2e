//! Agents: list, one, unenrol, reassign.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentId, AgentQuery, Timestamp, agents};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AdminState, One, agent_json::AgentItem, agent_query::filter, agent_status::summary, kuery, ok,
    query::Query,
};
use crate::{call::Call, error::ApiError};

/// Parameters of the list.
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
    parameters.must_be_off("showUpgradeable", "compare the agents' versions")?;
    parameters.must_be_off("withMetrics", "metrics of agents are in Elasticsearch")?;
    let (paging, query, now) = (parameters.page()?, filter(&parameters)?, Timestamp::now());
    let page = agents::list(&state.fleet, &query, paging.request(), now).await?;
    let list = paging.envelope(page, AgentItem::from);
    if !parameters.flag("getStatusSummary")? {
        return ok(&list);
    }
    let counts = agents::counts(&state.fleet, &query, now).await?;
    let mut body = serde_json::to_value(&list)
        .map_err(|_| ApiError::Broken("a list cannot be written as JSON".into()))?;
    if let Value::Object(members) = &mut body {
        members.insert("statusSummary".to_owned(), Value::Object(summary(&counts)));
    }
    ok(&body)
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let report = agents::get(&state.fleet, &AgentId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&One {
        item: AgentItem::from(report),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unenroll {
    #[serde(default)]
    force: bool,
    #[serde(default)]
    revoke: bool,
}

pub(super) async fn unenroll(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Unenroll = state.json(&mut call, "unenroll").await?;
    let (agent, now) = (AgentId::from(call.id.as_str()), Timestamp::now());
    // As in Kibana, `revoke` unenrols the agent at once, without sending it an action.
    if wanted.force || wanted.revoke {
        agents::force_unenroll(&state.fleet, &agent, now).await?;
    } else {
        agents::unenroll(&state.fleet, &agent, now).await?;
    }
    ok(&Map::new())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reassign {
    policy_id: String,
}

pub(super) async fn reassign(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Reassign = state.json(&mut call, "reassign").await?;
    let agent = AgentId::from(call.id.as_str());
    agents::reassign(
        &state.fleet,
        vec![agent],
        &wanted.policy_id.into(),
        Timestamp::now(),
    )
    .await?;
    ok(&Map::new())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BulkReassign {
    agents: Targets,
    policy_id: String,
}

/// Ids, or a kuery.
#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    Ids(Vec<String>),
    Kuery(String),
}

/// Number of agents that were assigned. Kibana answers the id of a background action instead.
#[derive(Serialize)]
struct Reassigned {
    agents: u64,
}

pub(super) async fn bulk_reassign(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: BulkReassign = state.json(&mut call, "reassign").await?;
    let (policy, now) = (wanted.policy_id.into(), Timestamp::now());
    let agents = match wanted.agents {
        Targets::Ids(ids) => {
            let ids = ids.into_iter().map(AgentId::from).collect();
            agents::reassign(&state.fleet, ids, &policy, now).await?
        }
        Targets::Kuery(text) => {
            let mut query = AgentQuery::default();
            kuery::apply(&text, &mut query).map_err(|error| ApiError::Invalid(error.to_string().into()))?;
            agents::reassign_all(&state.fleet, query, &policy, now).await?
        }
    };
    ok(&Reassigned { agents })
}
