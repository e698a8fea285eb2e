//! Agents: list, one, unenrol.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentId, AgentQuery, AgentSort, PolicyId, SortOrder, Timestamp, agents};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{AdminState, One, agent_json::AgentItem, agent_status::summary, kuery, ok, query::Query};
use crate::{call::Call, error::ApiError};

/// Parameters of the list. `showUpgradeable` and `withMetrics` are Kibana's; they change nothing here.
const LIST: &[&str] = &[
    "page",
    "perPage",
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

/// Which agents and in which order, from parameters and kuery.
pub(super) fn filter(parameters: &Query) -> Result<AgentQuery, ApiError> {
    let mut query = AgentQuery {
        shows_inactive: parameters.flag("showInactive")?,
        search: parameters.text("search").map(str::to_owned),
        sort: sort(parameters.text("sortField"))?,
        order: match parameters.text("sortOrder") {
            None | Some("desc") => SortOrder::Descending,
            Some("asc") => SortOrder::Ascending,
            Some(_) => return Err(ApiError::Invalid("sortOrder must be asc or desc".into())),
        },
        ..AgentQuery::default()
    };
    let refused = |error: kuery::KueryError| ApiError::Invalid(error.to_string().into());
    query
        .policies
        .extend(parameters.text("policyId").map(PolicyId::from));
    for name in parameters
        .text("status")
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
    {
        query.statuses.push(kuery::status(name.trim()).map_err(refused)?);
    }
    kuery::apply(parameters.text("kuery").unwrap_or_default(), &mut query).map_err(refused)?;
    Ok(query)
}

fn sort(field: Option<&str>) -> Result<AgentSort, ApiError> {
    Ok(match field {
        None | Some("enrolled_at") => AgentSort::EnrolledAt,
        Some("last_checkin") => AgentSort::LastCheckin,
        Some("id" | "agent.id") => AgentSort::Id,
        Some("policy_id") => AgentSort::Policy,
        Some("version" | "agent.version") => AgentSort::Version,
        Some(other) => {
            return Err(ApiError::Invalid(
                format!(
                    "sortField {other} is not known: use enrolled_at, last_checkin, id, policy_id or version"
                )
                .into(),
            ));
        }
    })
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
