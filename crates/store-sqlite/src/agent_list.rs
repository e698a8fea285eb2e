//! O22: lists of agents and their computed status, from one snapshot.
//!
//! The status splits in two: `state`, which only writes change, and what the clock adds (inactive, offline).
//! The census counts agents by state and by the five minutes in which they were last heard of; only those five
//! minutes in which a time limit falls are read agent by agent. So counting a million agents reads a few
//! thousand rows, and the first pages of a list cost a walk along an index.

use std::collections::BTreeMap;

use rusqlite::{
    Connection, Row, named_params,
    types::{ToSql, Value},
};
use store::{
    Agent, AgentId, AgentQuery, AgentSort, AgentStatus, Page, PageRequest, SortOrder, StatusCounts,
    StatusReport, StoreError, Timestamp,
};

use super::{
    agents, collectors,
    columns::{ReadColumn as _, ToColumn as _, count},
    fault::Outcome,
    pages,
};

/// One page; `total` counts the whole list.
pub(super) fn page(
    connection: &Connection,
    query: &AgentQuery,
    request: &PageRequest,
    now: Timestamp,
) -> Outcome<Page<StatusReport>> {
    let part = Part::of(query, request)?;
    let snapshot = connection.unchecked_transaction()?;
    let wanted = wanted(query);
    let counts = counts_within(&snapshot, query, now)?;
    let total = wanted.iter().filter_map(|status| counts.get(status)).sum();
    let mut items = Vec::new();
    // Otherwise there is nothing to walk for.
    if u64::try_from(part.offset).is_ok_and(|offset| offset < total) {
        for (id, status) in ids(&snapshot, query, &wanted, total, &part, now)? {
            let agent = agents::by_id(&snapshot, &id)?
                .ok_or_else(|| StoreError::corrupt(format!("agent {id} has no record")))?;
            let collector = collectors::of(&snapshot, &agent, collectors::Part::Overview)?;
            items.push(StatusReport {
                agent,
                status,
                collector,
            });
        }
    }
    Ok(pages::page(request, items, total, |last: &StatusReport| {
        (sort_value(query.sort, &last.agent), last.agent.id.clone())
    })?)
}

/// The part of a list that is wanted.
struct Part {
    limit: u32,
    offset: i64,
    /// Sort value and id of the agent behind which it begins.
    after: Option<(Value, String)>,
}

impl Part {
    fn of(query: &AgentQuery, request: &PageRequest) -> Result<Self, StoreError> {
        let (offset, after) = pages::start::<(Option<serde_json::Value>, String)>(request)?;
        let after = after
            .map(|(value, id)| match (query.sort, value) {
                (AgentSort::LastCheckin, None) => Ok((Value::Null, id)),
                (AgentSort::EnrolledAt | AgentSort::LastCheckin, Some(serde_json::Value::Number(number))) => {
                    number
                        .as_i64()
                        .map(|number| (Value::Integer(number), id))
                        .ok_or_else(pages::foreign)
                }
                (
                    AgentSort::Id | AgentSort::Policy | AgentSort::Version,
                    Some(serde_json::Value::String(text)),
                ) => Ok((Value::Text(text), id)),
                _ => Err(pages::foreign()),
            })
            .transpose()?;
        Ok(Self {
            limit: request.limit,
            offset,
            after,
        })
    }

    /// What is asked of an agent so that it lies in this part: one of several conditions that exclude each other, so
    /// that an index can go by each.
    fn conditions(&self, query: &AgentQuery, key: &str) -> Vec<String> {
        let (least, more) = match query.order {
            SortOrder::Ascending => (">=", ">"),
            SortOrder::Descending => ("<=", "<"),
        };
        // SQLite counts NULL as less than everything.
        match (&self.after, query.order) {
            (None, _) => vec![String::new()],
            (Some((Value::Null, _)), order) => {
                let mut conditions = vec![format!(" AND {key} IS NULL AND agent {more} :last")];
                if order == SortOrder::Ascending {
                    conditions.push(format!(" AND {key} IS NOT NULL"));
                }
                conditions
            }
            (Some(_), order) => {
                let mut conditions = vec![format!(
                    " AND {key} {least} :after AND ({key} {more} :after OR agent {more} :last)"
                )];
                if order == SortOrder::Descending && query.sort == AgentSort::LastCheckin {
                    conditions.push(format!(" AND {key} IS NULL"));
                }
                conditions
            }
        }
    }
}

/// What the list is sorted by, of one agent.
fn sort_value(sort: AgentSort, agent: &Agent) -> serde_json::Value {
    match sort {
        AgentSort::EnrolledAt => agent.enrolled_at.millis().into(),
        AgentSort::LastCheckin => agent.last_checkin.map(Timestamp::millis).into(),
        AgentSort::Id => agent.id.as_str().into(),
        AgentSort::Policy => agent.policy.as_str().into(),
        AgentSort::Version => agent.version.as_str().into(),
    }
}

/// One agent with its status.
pub(super) fn one(connection: &Connection, id: &AgentId, now: Timestamp) -> Outcome<Option<StatusReport>> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(agent) = agents::by_id(&snapshot, id)? else {
        return Ok(None);
    };
    let sql = concat!(
        "SELECT ",
        status_sql!(),
        " FROM presence",
        join_policy!(),
        "WHERE agent = :agent"
    );
    let status = snapshot.prepare_cached(sql)?.query_row(
        named_params! {":now": now.millis(), ":agent": id.as_str()},
        |row| status(row, 0),
    )?;
    let collector = collectors::of(&snapshot, &agent, collectors::Part::Whole)?;
    Ok(Some(StatusReport {
        agent,
        status,
        collector,
    }))
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

/// Every five minutes of the census counted as though its agents were heard of in the last millisecond, then
/// corrected by the agents for which that makes a difference.
fn count_by_census(snapshot: &Connection, query: &AgentQuery, now: Timestamp) -> Outcome<StatusCounts> {
    let mut counts = StatusCounts::new();
    let policies = query.policies.to_column()?;
    let all = query.policies.is_empty();
    let mut census = snapshot.prepare_cached(concat!(
        "SELECT ",
        status_sql!(
            "iif(has_checked_in, heard * 300000 + 299999, NULL)",
            "heard * 300000 + 299999"
        ),
        ", sum(agents) FROM census AS presence",
        join_policy!(),
        "WHERE :all OR presence.policy IN (SELECT value FROM json_each(:policies)) GROUP BY 1"
    ))?;
    let mut rows = census.query(named_params! {":all": all, ":policies": policies, ":now": now.millis()})?;
    while let Some(row) = rows.next()? {
        counts.insert(status(row, 0)?, count(row, 1)?);
    }
    // Summed here: SQLite would sort the rows to group them.
    let mut moves = BTreeMap::<(AgentStatus, AgentStatus), u64>::new();
    for (from, to) in doubtful(snapshot, now)? {
        let mut silent = snapshot.prepare_cached(concat!(
            "SELECT ",
            status_sql!(
                "iif(last_checkin IS NULL, NULL, last - (last % 300000 + 300000) % 300000 + 299999)",
                "last - (last % 300000 + 300000) % 300000 + 299999"
            ),
            ", ",
            status_sql!("last_checkin", "last"),
            " FROM (
                SELECT policy, state, last_checkin, last_checkin AS last
                FROM presence INDEXED BY presence_last_checkin
                WHERE is_active = 1 AND last_checkin >= :from AND last_checkin < :to
                UNION ALL
                SELECT policy, state, NULL, enrolled_at FROM presence INDEXED BY presence_never_checked_in
                WHERE is_active = 1 AND enrolled_at >= :from AND enrolled_at < :to AND last_checkin IS NULL
             ) AS presence",
            join_policy!(),
            "WHERE :all OR presence.policy IN (SELECT value FROM json_each(:policies))"
        ))?;
        let mut rows = silent.query(named_params! {
            ":all": all,
            ":policies": policies,
            ":now": now.millis(),
            ":from": from,
            ":to": to,
        })?;
        while let Some(row) = rows.next()? {
            *moves.entry((status(row, 0)?, status(row, 1)?)).or_default() += 1;
        }
    }
    for ((counted_as, is), agents) in moves {
        let wrong = counts.entry(counted_as).or_default();
        *wrong = wrong.saturating_sub(agents);
        *counts.entry(is).or_default() += agents;
    }
    counts.retain(|_, agents| *agents > 0);
    Ok(counts)
}

/// The spans of time in which an agent last heard of may be counted wrongly by the census: from the beginning
/// of the five minutes in which a limit falls up to the limit. Ascending, without overlap.
fn doubtful(snapshot: &Connection, now: Timestamp) -> Outcome<Vec<(i64, i64)>> {
    let mut limits = snapshot
        .prepare_cached(
            "SELECT DISTINCT inactivity_timeout FROM policy WHERE inactivity_timeout IS NOT NULL",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    limits.push(OFFLINE_AFTER);
    // Of two limits in the same five minutes the later one has the longer span.
    let spans: BTreeMap<i64, i64> = limits.into_iter().fold(BTreeMap::new(), |mut spans, limit| {
        let to = now.millis().saturating_sub(limit);
        let longest = spans
            .entry(to.saturating_sub(to.rem_euclid(HEARD_SPAN)))
            .or_insert(to);
        *longest = to.max(*longest);
        spans
    });
    Ok(spans.into_iter().collect())
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
    let (policies, tags, search) = (
        query.policies.to_column()?,
        query.tags.to_column()?,
        query.search.as_deref(),
    );
    let millis = now.millis();
    let parameters: [(&str, &dyn ToSql); 4] = [
        (":now", &millis),
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
    part: &Part,
    now: Timestamp,
) -> Outcome<Vec<(AgentId, AgentStatus)>> {
    let states = wanted.iter().map(|status| *status as i64).collect::<Vec<_>>();
    let states = states.to_column()?;
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
    let select = |way: &Way, behind: &str| {
        format!(
            "SELECT agent, {status} AS status, {key} AS sorted FROM presence{index}{policy}{agent}
             WHERE {filters}{only}{behind} AND status IN (SELECT value FROM json_each(:states))",
            status = status_sql!(),
            index = way.index,
            policy = join_policy!(),
            agent = if is_filtered { JOIN_AGENT } else { "" },
            filters = filters(query),
            only = way.only,
        )
    };
    let behind = part.conditions(query, key);
    let ways = ways(query, wanted, total)
        .iter()
        .flat_map(|way| behind.iter().map(|behind| select(way, behind)))
        .collect::<Vec<_>>();
    let sql = format!(
        "{} ORDER BY sorted {direction}, agent {direction} LIMIT :limit OFFSET :offset",
        ways.join(" UNION ALL ")
    );
    let mut statement = snapshot.prepare_cached(&sql)?;
    let silent = silent_before(snapshot, now)?;
    let (policies, tags, search) = (
        query.policies.to_column()?,
        query.tags.to_column()?,
        query.search.as_deref(),
    );
    let millis = now.millis();
    let (after, last) = part
        .after
        .as_ref()
        .map_or((&Value::Null, ""), |(value, id)| (value, id.as_str()));
    let parameters: [(&str, &dyn ToSql); 11] = [
        (":now", &millis),
        (":silent", &silent),
        (":states", &states),
        (":only", &states),
        (":policies", &policies),
        (":tags", &tags),
        (":search", &search),
        (":after", after),
        (":last", &last),
        (":limit", &part.limit),
        (":offset", &part.offset),
    ];
    let used = parameters
        .into_iter()
        .filter(|(name, _)| sql.contains(name))
        .collect::<Vec<_>>();
    let ids = statement
        .query_map(&used[..], |row| Ok((row.read(0)?, status(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}

/// How the agents of a list are found.
struct Way {
    /// The index to go by.
    index: &'static str,
    /// What the index, or the list as a whole, implies. A `+` keeps the planner from going by it.
    only: &'static str,
}

/// Few agents are found through what makes them few and then sorted; many by a walk along the order. Several
/// ways are merged, each in order.
fn ways(query: &AgentQuery, wanted: &[AgentStatus], total: u64) -> Vec<Way> {
    let active = if wanted.contains(&AgentStatus::Unenrolled) {
        ""
    } else {
        " AND +is_active = 1"
    };
    let by = |index| vec![Way { index, only: active }];
    let clocked = wanted.iter().filter(|status| is_clocked(**status)).count();
    if total > FEW {
        return match query.sort {
            AgentSort::EnrolledAt => by(" INDEXED BY presence_enrolled_at"),
            AgentSort::Policy => by(" INDEXED BY presence_policy"),
            AgentSort::Version => by(" INDEXED BY presence_version"),
            // The table itself.
            AgentSort::Id => by(""),
            AgentSort::LastCheckin => {
                let index = " INDEXED BY presence_last_checkin";
                let mut ways = vec![Way {
                    index,
                    only: " AND is_active = 1",
                }];
                if active.is_empty() {
                    ways.push(Way {
                        index,
                        only: " AND is_active = 0",
                    });
                }
                ways
            }
        };
    }
    if !query.policies.is_empty() {
        by(" INDEXED BY presence_policy")
    } else if query.statuses.is_empty() {
        let only = if active.is_empty() {
            ""
        } else {
            " AND is_active = 1"
        };
        vec![Way { index: "", only }]
    } else if clocked == 0 {
        by(" INDEXED BY presence_state")
    } else if clocked == wanted.len() {
        let only = " AND agent IN (
            SELECT agent FROM presence WHERE is_active = 1 AND last_checkin < :silent
            UNION ALL
            SELECT agent FROM presence WHERE is_active = 1 AND last_checkin IS NULL AND enrolled_at < :silent)";
        vec![Way { index: "", only }]
    } else {
        by("")
    }
}

/// Whether the clock alone makes an agent so.
fn is_clocked(status: AgentStatus) -> bool {
    matches!(status, AgentStatus::Inactive | AgentStatus::Offline)
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

/// What the query asks of an agent besides its status.
fn filters(query: &AgentQuery) -> String {
    let mut filters = String::from("1");
    if !query.policies.is_empty() {
        filters.push_str(" AND presence.policy IN (SELECT value FROM json_each(:policies))");
    }
    if !query.statuses.is_empty() && !query.statuses.iter().any(|status| is_clocked(*status)) {
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
        .iter()
        .copied()
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

/// A policy with a version suffix (`base#suffix`) that sets no inactivity timeout has its base's.
///
/// data.md 6.1: the state with what the clock `:now` adds, as place in [`AgentStatus::ALL`].
macro_rules! status_sql {
    () => {
        status_sql!("last_checkin", "coalesce(last_checkin, enrolled_at)")
    };
    ($checkin:literal, $heard:literal) => {
        concat!(
            "CASE
            WHEN state = 0 THEN 0
            WHEN ",
            $checkin,
            " < :now - coalesce(assigned.inactivity_timeout, iif(instr(presence.policy, '#'), (
                    SELECT inactivity_timeout FROM policy AS base WHERE base.id = substr(presence.policy, 1,
                        length(rtrim(presence.policy, replace(presence.policy, '#', ''))) - 1)
                ), NULL)) THEN 1
            WHEN state IN (2, 3) THEN state
            WHEN ",
            $heard,
            " < :now - 300000 THEN 4
            ELSE state
        END"
        )
    };
}
use status_sql;

/// The assigned policy, which may set an inactivity timeout.
macro_rules! join_policy {
    () => {
        " LEFT JOIN policy AS assigned ON assigned.id = presence.policy "
    };
}
use join_policy;

const JOIN_AGENT: &str = " JOIN agent AS a ON a.id = presence.agent ";

/// data.md 6.1: when an agent is offline, milliseconds.
const OFFLINE_AFTER: i64 = 5 * 60 * 1000;
const _: () = assert!(OFFLINE_AFTER as u128 == store::OFFLINE_AFTER.as_millis());
/// The five minutes of `presence.heard`.
const HEARD_SPAN: i64 = 5 * 60 * 1000;
/// So many agents are sorted in a few milliseconds.
const FEW: u64 = 5_000;
