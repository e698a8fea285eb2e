//! From the parameters of a list of agents to the query for the domain.

use fleet::{AgentQuery, AgentSort, PolicyId, SortOrder};

use super::{kuery, query::Query};
use crate::error::ApiError;

/// Filters and order, from the parameters and their kuery.
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
