//! O22: lists of agents and their computed status, from one snapshot.
//!
//! The status splits in two: `state`, which only writes change and the census counts, and what the clock adds
//! (inactive, offline), which needs only the agents that were not heard of for a while. So counting costs as
//! much as there are silent agents, and the first pages of a list cost a walk along an index.

use rusqlite::{Connection, Row, named_params, types::ToSql};

use super::{
    agents,
    columns::{List, count},
    fault::Outcome,
    pages,
};
use crate::{
    AgentId, AgentQuery, AgentSort, AgentStatus, Page, PageRequest, SortOrder, StatusCounts, StatusReport,
    StoreError, Timestamp,
};

/// One page; `total` counts the whole list.
pub(super) fn page(
    connection: &Connection,
    query: &AgentQuery,
    page: PageRequest,
    now: Timestamp,
) -> Outcome<Page<StatusReport>> {
    let snapshot = connection.unchecked_transaction()?;
    let wanted = wanted(query);
    let counts = counts_within(&snapshot, query, now)?;
    let total = wanted.iter().filter_map(|status| counts.get(status)).sum();
    let mut items = Vec::new();
    for (id, status) in ids(&snapshot, query, &wanted, total, page, now)? {
        let agent = agents::by_id(&snapshot, &id)?.ok_or_else(|| StoreError::Corrupt {
            detail: format!("agent {id} has no record"),
        })?;
        items.push(StatusReport { agent, status });
    }
    Ok(Page { items, total })
}

/// How many agents have each status. Filters by status and `shows_inactive` choose what a list shows; here
/// every status is counted.
pub(super) fn counts(connection: &Connection, query: &AgentQuery, now: Timestamp) -> Outcome<StatusCounts> {
    let snapshot = connection.unchecked_transaction()?;
    let mut counts = counts_within(&snapshot, query, now)?;
    if !query.statuses.is_empty() {
        counts.retain(|status, _| query.statuses.contains(status));
    }
    Ok(counts)
}

fn counts_within(snapshot: &Connection, query: &AgentQuery, now: Timestamp) -> Outcome<StatusCounts> {
    if query.tags.is_empty() && query.search.is_none() {
        count_by_census(snapshot, query, now)
    } else {
        count_by_reading(snapshot, query, now)
    }
}

/// The states that the census counts, corrected by the agents whose status the clock decides.
fn count_by_census(snapshot: &Connection, query: &AgentQuery, now: Timestamp) -> Outcome<StatusCounts> {
    let mut counts = StatusCounts::new();
    let policies = List(&query.policies);
    let all = query.policies.is_empty();
    let mut census = snapshot.prepare_cached(
        "SELECT state, sum(agents) FROM census
         WHERE :all OR policy IN (SELECT value FROM json_each(:policies)) GROUP BY state",
    )?;
    let mut rows = census.query(named_params! {":all": all, ":policies": policies})?;
    while let Some(row) = rows.next()? {
        counts.insert(status(row, 0)?, count(row, 1)?);
    }
    let mut silent = snapshot.prepare_cached(concat!(
        "SELECT state, ",
        status_sql!(),
        " AS status, count(*) FROM presence INDEXED BY presence_last_checkin",
        join_policy!(),
        "WHERE is_active = 1 AND (last_checkin < :silent OR (last_checkin IS NULL AND enrolled_at < :silent))
            AND (:all OR presence.policy IN (SELECT value FROM json_each(:policies)))
         GROUP BY 1, 2"
    ))?;
    let mut rows = silent.query(named_params! {
        ":all": all,
        ":policies": policies,
        ":now": now,
        ":silent": silent_before(snapshot, now)?,
    })?;
    while let Some(row) = rows.next()? {
        let agents = count(row, 2)?;
        let counted_as = counts.entry(status(row, 0)?).or_default();
        *counted_as = counted_as.saturating_sub(agents);
        *counts.entry(status(row, 1)?).or_default() += agents;
    }
    counts.retain(|_, agents| *agents > 0);
    Ok(counts)
}

/// Agents heard of since are neither offline nor inactive, whatever their policy.
fn silent_before(snapshot: &Connection, now: Timestamp) -> Outcome<i64> {
    let shortest: Option<i64> = snapshot
        .prepare_cached("SELECT min(inactivity_timeout) FROM policy")?
        .query_row([], |row| row.get(0))?;
    Ok(now
        .millis()
        .saturating_sub(shortest.unwrap_or(OFFLINE_AFTER).min(OFFLINE_AFTER)))
}

/// For filters that no index knows.
fn count_by_reading(snapshot: &Connection, query: &AgentQuery, now: Timestamp) -> Outcome<StatusCounts> {
    let sql = format!(
        "SELECT {} AS status, count(*) FROM presence{}{} WHERE {} GROUP BY 1",
        status_sql!(),
        join_policy!(),
        JOIN_AGENT,
        filters(query)
    );
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut counts = StatusCounts::new();
    let (policies, tags, search) = (List(&query.policies), List(&query.tags), query.search.as_deref());
    let parameters: [(&str, &dyn ToSql); 4] = [
        (":now", &now),
        (":policies", &policies),
        (":tags", &tags),
        (":search", &search),
    ];
    let mut rows = statement.query(
        &parameters
            .into_iter()
            .filter(|(name, _)| sql.contains(name))
            .collect::<Vec<_>>()[..],
    )?;
    while let Some(row) = rows.next()? {
        counts.insert(status(row, 0)?, count(row, 1)?);
    }
    Ok(counts)
}

/// Ids and states of one page, in order.
fn ids(
    snapshot: &Connection,
    query: &AgentQuery,
    wanted: &[AgentStatus],
    total: u64,
    page: PageRequest,
    now: Timestamp,
) -> Outcome<Vec<(AgentId, AgentStatus)>> {
    let states = List(wanted.iter().map(|status| *status as i64).collect::<Vec<_>>());
    let direction = match query.order {
        SortOrder::Ascending => "ASC",
        SortOrder::Descending => "DESC",
    };
    let key = match query.sort {
        AgentSort::EnrolledAt => "enrolled_at",
        AgentSort::LastCheckin => "last_checkin",
        AgentSort::Id => "agent",
        AgentSort::Policy => "presence.policy",
        AgentSort::Version => "presence.version",
    };
    let is_filtered = !query.tags.is_empty() || query.search.is_some();
    let sql = format!(
        "SELECT agent, {status} AS status FROM presence{index}{policy}{agent}
         WHERE {filters}{active} AND status IN (SELECT value FROM json_each(:states))
         ORDER BY {key} {direction}, agent {direction} LIMIT :limit OFFSET :offset",
        status = status_sql!(),
        index = index(query, wanted, total),
        policy = join_policy!(),
        agent = if is_filtered { JOIN_AGENT } else { "" },
        filters = filters(query),
        active = if wanted.contains(&AgentStatus::Unenrolled) {
            ""
        } else {
            " AND is_active = 1"
        },
    );
    let mut statement = snapshot.prepare_cached(&sql)?;
    let (policies, tags, search) = (List(&query.policies), List(&query.tags), query.search.as_deref());
    let offset = pages::offset(page);
    let parameters: [(&str, &dyn ToSql); 8] = [
        (":now", &now),
        (":states", &states),
        (":only", &states),
        (":policies", &policies),
        (":tags", &tags),
        (":search", &search),
        (":limit", &page.limit),
        (":offset", &offset),
    ];
    let used = parameters
        .into_iter()
        .filter(|(name, _)| sql.contains(name))
        .collect::<Vec<_>>();
    let ids = statement
        .query_map(&used[..], |row| Ok((row.get(0)?, status(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}

/// Few agents are found through what makes them few and then sorted; many by a walk along the order.
fn index(query: &AgentQuery, wanted: &[AgentStatus], total: u64) -> &'static str {
    let clock_decides = wanted
        .iter()
        .any(|status| matches!(status, AgentStatus::Inactive | AgentStatus::Offline));
    if total > FEW {
        return match query.sort {
            AgentSort::EnrolledAt => " INDEXED BY presence_enrolled_at",
            AgentSort::Policy => " INDEXED BY presence_policy",
            AgentSort::Version => " INDEXED BY presence_version",
            // By id: the table itself. By last check-in: the index needs `is_active`, the planner knows it.
            AgentSort::Id | AgentSort::LastCheckin => "",
        };
    }
    if !query.policies.is_empty() {
        " INDEXED BY presence_policy"
    } else if !query.statuses.is_empty() && !clock_decides {
        " INDEXED BY presence_state"
    } else {
        ""
    }
}

/// What the query asks of an agent besides its status.
fn filters(query: &AgentQuery) -> String {
    let mut filters = String::from("1");
    if !query.policies.is_empty() {
        filters.push_str(" AND presence.policy IN (SELECT value FROM json_each(:policies))");
    }
    if !query.statuses.is_empty()
        && !query
            .statuses
            .iter()
            .any(|status| matches!(status, AgentStatus::Inactive | AgentStatus::Offline))
    {
        // Implied by the status, but an index knows it.
        filters.push_str(" AND state IN (SELECT value FROM json_each(:only))");
    }
    if !query.tags.is_empty() {
        filters.push_str(
            " AND NOT EXISTS (SELECT 1 FROM json_each(:tags) AS asked
                WHERE asked.value NOT IN (SELECT value FROM json_each(a.tags)))",
        );
    }
    if query.search.is_some() {
        filters.push_str(
            " AND (substr(agent, 1, length(:search)) = :search COLLATE NOCASE
                OR substr(a.host_name, 1, length(:search)) = :search COLLATE NOCASE)",
        );
    }
    filters
}

/// The states that a list shows.
fn wanted(query: &AgentQuery) -> Vec<AgentStatus> {
    let hidden = [AgentStatus::Unenrolled, AgentStatus::Inactive];
    AgentStatus::ALL
        .into_iter()
        .filter(|status| match query.statuses.is_empty() {
            true => query.shows_inactive || !hidden.contains(status),
            false => query.statuses.contains(status),
        })
        .collect()
}

fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<AgentStatus> {
    let place: i64 = row.get(column)?;
    usize::try_from(place)
        .ok()
        .and_then(|place| AgentStatus::ALL.get(place).copied())
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, place))
}

/// data-model 6.1: the state with what the clock `:now` adds, as place in [`AgentStatus::ALL`].
macro_rules! status_sql {
    () => {
        "CASE
            WHEN state = 0 THEN 0
            WHEN last_checkin < :now - coalesce(assigned.inactivity_timeout, base.inactivity_timeout) THEN 1
            WHEN state IN (2, 3) THEN state
            WHEN coalesce(last_checkin, enrolled_at) < :now - 300000 THEN 4
            ELSE state
        END"
    };
}
use status_sql;

/// The policies that may set an inactivity timeout: the assigned one, else the one without version suffix.
macro_rules! join_policy {
    () => {
        " LEFT JOIN policy AS assigned ON assigned.id = presence.policy
          LEFT JOIN policy AS base ON assigned.id IS NULL AND instr(presence.policy, '#') > 0
            AND base.id = (SELECT policy_base FROM agent WHERE agent.id = presence.agent) "
    };
}
use join_policy;

const JOIN_AGENT: &str = " JOIN agent AS a ON a.id = presence.agent ";

/// data-model 6.1 row 5, milliseconds.
const OFFLINE_AFTER: i64 = 5 * 60 * 1000;
/// So many agents are sorted in a few milliseconds.
const FEW: u64 = 5_000;
