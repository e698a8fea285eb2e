//! Agents: list, one, unenrol, reassign.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentId, Timestamp, agents};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AdminState, Many, One,
    agent_json::AgentItem,
    agent_query::filter,
    agent_status::{self, summary},
    ok,
    query::{self, Query},
    targets::{self, Targets},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ListOfAgents")]
struct Listed {
    #[serde(flatten)]
    list: Many<AgentItem>,
    #[serde(rename = "statusSummary", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "agent_status::summary_schema")]
    status_summary: Option<Map<String, Value>>,
}

pub(super) fn about_list() -> Operation {
    Operation::new("agents", "The agents", KeyKind::VIEWER)
        .parameters(query::described(LIST))
        .answers(Answer::json::<Listed>(200, "A page of them"))
        .fails(&[Family::Rule])
}

pub(super) fn about_get() -> Operation {
    Operation::new("agent", "An agent", KeyKind::VIEWER)
        .path("id", "The agent's id")
        .answers(Answer::json::<One<AgentItem>>(200, "With its computed status"))
        .fails(&[Family::AgentKey, Family::Missing])
}

pub(super) fn about_unenroll() -> Operation {
    Operation::new(
        "agentUnenroll",
        "Ends an agent's membership, by an action or at once",
        KeyKind::OPERATOR,
    )
    .path("id", "The agent's id")
    .takes_json::<Unenroll>()
    .answers(Answer::json::<Nothing>(200, "It is asked, or gone"))
    .fails(&[Family::AgentKey, Family::Missing, Family::Rule, Family::Conflict])
}

pub(super) fn about_reassign() -> Operation {
    Operation::new(
        "agentReassign",
        "Gives an agent another policy at once",
        KeyKind::OPERATOR,
    )
    .path("id", "The agent's id")
    .takes_json::<Reassign>()
    .answers(Answer::json::<Nothing>(200, "It has the policy"))
    .fails(&[Family::AgentKey, Family::Missing, Family::Rule, Family::Conflict])
}

pub(super) fn about_bulk_reassign() -> Operation {
    Operation::new(
        "agentsReassign",
        "Gives agents another policy, all or none",
        KeyKind::OPERATOR,
    )
    .takes_json::<BulkReassign>()
    .answers(Answer::json::<Reassigned>(200, "How many"))
    .fails(&[Family::AgentKey, Family::Missing, Family::Rule, Family::Conflict])
}

/// No members.
#[derive(Serialize, JsonSchema)]
struct Nothing {}

pub(super) async fn list(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, LIST)?;
    parameters.must_be_off("showUpgradeable", "compare the agents' versions")?;
    parameters.must_be_off("withMetrics", "metrics of agents are in Elasticsearch")?;
    let (paging, query, now) = (parameters.page()?, filter(&parameters)?, Timestamp::now());
    let page = agents::list(&state.fleet, &query, paging.request(), now).await?;
    let list = paging.envelope(page, AgentItem::from);
    let status_summary = match parameters.flag("getStatusSummary")? {
        true => Some(summary(&agents::counts(&state.fleet, &query, now).await?)),
        false => None,
    };
    ok(&Listed { list, status_summary })
}

pub(super) async fn get(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let report = agents::get(&state.fleet, &AgentId::from(call.id.as_str()), Timestamp::now()).await?;
    ok(&One {
        item: AgentItem::from(report),
    })
}

#[derive(Deserialize, JsonSchema)]
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
    ok(&Nothing {})
}

#[derive(Deserialize, JsonSchema)]
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
    ok(&Nothing {})
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BulkReassign {
    agents: Targets,
    policy_id: String,
}

/// Number of agents that were assigned. Kibana answers the id of a background action instead.
#[derive(Serialize, JsonSchema)]
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
            agents::reassign_all(&state.fleet, targets::query(&text)?, &policy, now).await?
        }
    };
    ok(&Reassigned { agents })
}
