//! How many agents have each status.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{AgentQuery, AgentStatus, StatusCounts, Timestamp, agents};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{AdminState, agent_query::filter, ok, query::Query};
use crate::{call::Call, error::ApiError};

#[derive(Serialize)]
struct Results {
    results: Map<String, Value>,
}

pub(super) async fn counts(state: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    let parameters = Query::read(&call.query, &["policyId", "kuery"])?;
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
        let counts = StatusCounts::from(AgentStatus::ALL.map(|status| (status, 1)));
        let summary = summary(&counts);
        let of = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!(
            (of("all"), of("active"), of("error"), of("updating"), of("other")),
            (11, 9, 2, 3, 2)
        );
        assert_eq!((of("online"), of("degraded"), of("unenrolled")), (1, 1, 1));
    }
}
