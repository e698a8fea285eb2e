//! How many agents have each status.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentQuery, AgentStatus, StatusCounts, Timestamp, agents};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    AdminState,
    agent_query::filter,
    ok,
    query::{self, Query},
};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentStatusCounts")]
struct Results {
    #[schemars(schema_with = "summary_schema")]
    results: Map<String, Value>,
}

const FILTERS: [&str; 2] = ["policyId", "kuery"];

pub(super) fn about() -> Operation {
    Operation::new("agentStatus", "How many agents have each status", KeyKind::VIEWER)
        .parameters(query::described(&FILTERS))
        .answers(Answer::json::<Results>(200, "The numbers"))
        .fails(&[Family::Rule])
}

/// The members that [`summary`] makes.
pub(super) fn summary_schema(_: &mut SchemaGenerator) -> Schema {
    let numbers = summary(&StatusCounts::new());
    let number = json_schema!({ "type": "integer", "minimum": 0 }).to_value();
    let properties: Map<String, Value> = numbers
        .keys()
        .map(|name| (name.clone(), number.clone()))
        .collect();
    let required: Vec<&String> = numbers.keys().collect();
    json_schema!({ "type": "object", "properties": properties, "required": required })
}

pub(super) async fn counts(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, &FILTERS)?;
    let query = AgentQuery {
        shows_inactive: true,
        ..filter(&parameters)?
    };
    let counts = agents::counts(&state.fleet, &query, Timestamp::now()).await?;
    ok(&Results {
        results: summary(&counts),
    })
}

/// Kibana's sums beside each status of its own: `error` counts degraded agents too; `updating` those that enrol or
/// unenrol too; `active` is all but inactive and unenrolled ones; `all` is every agent on record.
pub(super) fn summary(counts: &StatusCounts) -> Map<String, Value> {
    let of = |status: AgentStatus| counts.get(&status).copied().unwrap_or(0);
    let all: u64 = counts.values().sum();
    let active = all - of(AgentStatus::Inactive) - of(AgentStatus::Unenrolled);
    let error = of(AgentStatus::Error) + of(AgentStatus::Degraded);
    let updating = of(AgentStatus::Updating) + of(AgentStatus::Enrolling) + of(AgentStatus::Unenrolling);
    let named = of(AgentStatus::Online) + error + of(AgentStatus::Offline) + updating;
    let mut summary: Map<String, Value> = AgentStatus::ALL
        .iter()
        .map(|status| (status.as_str().to_owned(), of(*status).into()))
        .collect();
    let sums = [
        ("error", error),
        ("updating", updating),
        ("active", active),
        ("all", all),
        ("other", active - named),
    ];
    summary.extend(sums.map(|(name, sum)| (name.to_owned(), sum.into())));
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_every_agent_once() {
        let counts = AgentStatus::ALL.iter().map(|status| (*status, 1)).collect();
        let summary = summary(&counts);
        let of = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!(
            (of("all"), of("active"), of("error"), of("updating"), of("other")),
            (11, 9, 2, 3, 2)
        );
        assert_eq!((of("online"), of("degraded"), of("unenrolled")), (1, 1, 1));
    }
}
