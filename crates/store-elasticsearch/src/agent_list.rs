//! O22: lists and counts of agents. The status is decided in the search, as data.md 6.1 defines it, and again on each agent
//! that is shown.
//!
//! In: a query, a page, the time. Out: agents with their status, or counts. What this server wrote without waiting is made
//! visible before.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::Ordering,
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use store::{
    AgentId, AgentQuery, AgentSort, AgentStatus, OFFLINE_AFTER, Page, PageRequest, PolicyId, Result,
    SortOrder, StatusCounts, StatusReport, Timestamp, inactivity_timeout,
};

use crate::{
    ElasticStore, agent_document,
    connection::{Body, Call},
    documents::{Documents, Found},
    index::Index,
    pages,
    policies::{self, buckets},
};

impl ElasticStore {
    pub(crate) async fn list_agents(
        &self,
        query: &AgentQuery,
        page: PageRequest,
        now: Timestamp,
    ) -> Result<Page<StatusReport>> {
        page.check()?;
        let documents = self.open().await?;
        self.show_late_writes().await?;
        let timeouts = Timeouts::read(&documents).await?;
        let statuses = Statuses::new(&timeouts, now);
        let (sort, of) = sort(query);
        let mut body = pages::search(&page, &statuses.filter(query, !query.shows_inactive), sort, &of)?;
        body["_source"] = json!({"excludes": ["effective_config"]});
        let found = documents.search(Index::Agents, &body).await?;
        pages::page(&page, found, &of, |found| report(found, &timeouts, now))
    }

    pub(crate) async fn status_of(&self, id: &AgentId, now: Timestamp) -> Result<Option<StatusReport>> {
        let documents = self.open().await?;
        let Some(found) = documents.get(Index::Agents, id.as_str()).await? else {
            return Ok(None);
        };
        let timeouts = Timeouts::read(&documents).await?;
        report(&found, &timeouts, now).map(Some)
    }

    pub(crate) async fn count_agents(&self, query: &AgentQuery, now: Timestamp) -> Result<StatusCounts> {
        let documents = self.open().await?;
        self.show_late_writes().await?;
        let timeouts = Timeouts::read(&documents).await?;
        let statuses = Statuses::new(&timeouts, now);
        let filters: BTreeMap<_, _> = AgentStatus::ALL
            .iter()
            .map(|status| (status.as_str(), statuses.is(*status)))
            .collect();
        let body = json!({
            "size": 0,
            "query": statuses.filter(query, false),
            "aggs": {"statuses": {"filters": {"filters": filters}}},
        });
        let found = documents.search(Index::Agents, &body).await?;
        let counted = AgentStatus::ALL.iter().filter_map(|status| {
            let count = found
                .aggregations
                .pointer(&format!("/statuses/buckets/{}/doc_count", status.as_str()))?;
            Some((*status, count.as_u64().filter(|count| *count > 0)?))
        });
        Ok(counted.collect())
    }

    /// Lets searches find the check-ins that were written since somebody last asked.
    pub(crate) async fn show_late_writes(&self) -> Result<()> {
        if self.has_late_writes.swap(false, Ordering::AcqRel) {
            let path = format!("/{}/_refresh", Index::Agents.name());
            if let Err(failure) = self
                .connection
                .call(Call::new(Method::POST, path, Body::None))
                .await
            {
                self.has_late_writes.store(true, Ordering::Release);
                return Err(failure.into());
            }
        }
        Ok(())
    }
}

fn report(found: &Found, timeouts: &Timeouts, now: Timestamp) -> Result<StatusReport> {
    let agent = agent_document::agent(found)?;
    Ok(StatusReport {
        status: AgentStatus::of(&agent, timeouts.of(&agent.policy), now),
        collector: agent_document::collector(found)?.map(Box::new),
        agent,
    })
}

/// After which time without a check-in the agents of a policy are inactive.
struct Timeouts {
    policies: HashMap<PolicyId, Duration>,
    /// Every policy that an agent has.
    assigned: Vec<PolicyId>,
}

impl Timeouts {
    async fn read(documents: &Documents) -> Result<Self> {
        let body = json!({"size": 0, "aggs": {"policies": {"terms": {"field": "policy_id", "size": PageRequest::WINDOW}}}});
        let (known, found) = tokio::try_join!(policies::known(documents), async {
            Ok(documents.search(Index::Agents, &body).await?)
        })?;
        let timeouts = known
            .into_iter()
            .filter_map(|policy| Some((policy.id, policy.inactivity_timeout?)));
        let assigned = buckets(&found.aggregations, "/policies/buckets")
            .filter_map(|bucket| Some(PolicyId::from(bucket["key"].as_str()?)));
        Ok(Self {
            policies: timeouts.collect(),
            assigned: assigned.collect(),
        })
    }

    fn of(&self, policy: &PolicyId) -> Option<Duration> {
        inactivity_timeout(policy, |policy| self.policies.get(policy).copied())
    }
}

/// The statuses as searches at one moment.
struct Statuses {
    conditions: Vec<(AgentStatus, Value)>,
}

impl Statuses {
    fn new(timeouts: &Timeouts, now: Timestamp) -> Self {
        let mut by_timeout: BTreeMap<Duration, Vec<&PolicyId>> = BTreeMap::new();
        for policy in &timeouts.assigned {
            if let Some(timeout) = timeouts.of(policy) {
                by_timeout.entry(timeout).or_default().push(policy);
            }
        }
        let silent: Vec<_> = by_timeout
            .into_iter()
            .map(|(timeout, policies)| {
                all(&[
                    json!({"terms": {"policy_id": policies}}),
                    before("last_checkin", now.minus(timeout)),
                ])
            })
            .collect();
        let offline = now.minus(OFFLINE_AFTER);
        let conditions = AgentStatus::ALL.iter().map(|status| {
            let condition = match status {
                AgentStatus::Unenrolled => none(&[json!({"term": {"active": true}})]),
                AgentStatus::Inactive => any(&silent),
                AgentStatus::Uninstalled => json!({"term": {"audit_unenrolled_reason": "uninstall"}}),
                AgentStatus::Orphaned => json!({"term": {"audit_unenrolled_reason": "orphaned"}}),
                AgentStatus::Offline => any(&[
                    before("last_checkin", offline),
                    all(&[none(&[exists("last_checkin")]), before("enrolled_at", offline)]),
                ]),
                AgentStatus::Updating => any(&[
                    none(&[exists("policy_revision_idx")]),
                    json!({"term": {"policy_revision_idx": 0}}),
                    all(&[exists("upgrade_started_at"), none(&[exists("upgraded_at")])]),
                ]),
                AgentStatus::Enrolling => none(&[exists("last_checkin")]),
                AgentStatus::Unenrolling => exists("unenrollment_started_at"),
                AgentStatus::Error => json!({"term": {"last_checkin_status": "error"}}),
                AgentStatus::Degraded => json!({"term": {"last_checkin_status": "degraded"}}),
                AgentStatus::Online => json!({"match_all": {}}),
            };
            (*status, condition)
        });
        let conditions = conditions.collect();
        Self { conditions }
    }

    /// It is the first that applies.
    fn is(&self, status: AgentStatus) -> Value {
        let place = self
            .conditions
            .iter()
            .position(|(of, _)| *of == status)
            .unwrap_or(0);
        let conditions: Vec<_> = self
            .conditions
            .iter()
            .map(|(_, condition)| condition.clone())
            .collect();
        json!({"bool": {"filter": [conditions[place]], "must_not": &conditions[..place]}})
    }

    /// The agents of a query; `hides_ended`: not those that are unenrolled or inactive, if it names no status.
    fn filter(&self, query: &AgentQuery, hides_ended: bool) -> Value {
        let mut filters = Vec::new();
        if !query.policies.is_empty() {
            filters.push(json!({"terms": {"policy_id": query.policies}}));
        }
        filters.extend(query.tags.iter().map(|tag| json!({"term": {"tags": tag}})));
        if let Some(text) = &query.search {
            let begins =
                |member: &str| json!({"prefix": {member: {"value": text, "case_insensitive": true}}});
            filters.push(any(&[
                begins("agent.id"),
                begins("local_metadata.host.hostname.keyword"),
            ]));
        }
        if !query.statuses.is_empty() {
            let wanted: Vec<_> = query.statuses.iter().map(|status| self.is(*status)).collect();
            filters.push(any(&wanted));
        } else if hides_ended {
            filters.push(none(&[
                self.is(AgentStatus::Unenrolled),
                self.is(AgentStatus::Inactive),
            ]));
        }
        all(&filters)
    }
}

fn sort(query: &AgentQuery) -> (Value, String) {
    let (member, order) = (
        match query.sort {
            AgentSort::EnrolledAt => Some("enrolled_at"),
            AgentSort::LastCheckin => Some("last_checkin"),
            AgentSort::Id => None,
            AgentSort::Policy => Some("policy_id"),
            AgentSort::Version => Some("agent.version"),
        },
        match query.order {
            SortOrder::Ascending => "asc",
            SortOrder::Descending => "desc",
        },
    );
    // Nothing is less than anything.
    let missing = if order == "asc" { "_first" } else { "_last" };
    let mut members = Vec::new();
    members.extend(member.map(|member| json!({member: {"order": order, "missing": missing}})));
    members.push(json!({"agent.id": {"order": order}}));
    (members.into(), format!("{} {order}", member.unwrap_or("id")))
}

fn all(conditions: &[Value]) -> Value {
    json!({"bool": {"filter": conditions}})
}

fn any(conditions: &[Value]) -> Value {
    match conditions {
        [] => json!({"match_none": {}}),
        _ => json!({"bool": {"should": conditions, "minimum_should_match": 1}}),
    }
}

fn none(conditions: &[Value]) -> Value {
    json!({"bool": {"must_not": conditions}})
}

fn exists(member: &str) -> Value {
    json!({"exists": {"field": member}})
}

fn before(member: &str, at: Timestamp) -> Value {
    json!({"range": {member: {"lt": at.millis(), "format": "epoch_millis"}}})
}
