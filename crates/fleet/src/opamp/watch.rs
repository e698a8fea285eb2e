//! What an agent on an open connection is told unasked (agents.md 13.6): that its policy has another configuration, or
//! that it was unenrolled.
//!
//! In: wake-ups of the registry of waiting polls, in which the connection has its place like a poll: it is paced,
//! released at the stop, and seen as online. Out: one [`Event`] after the other. Writes nothing.

use std::sync::Arc;

use store::{AgentId, PolicyId, Timestamp};
use uuid::Uuid;

use super::{RemoteConfig, newest_policy, offered};
use crate::{Fleet, waiters::Subscription};

/// Where an agent stands after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) uid: Uuid,
    pub(super) agent: AgentId,
    pub(super) policy: PolicyId,
    /// Revision that was looked at.
    pub(super) revision: i64,
    /// Configuration that it has or was sent.
    pub(super) hash: Option<[u8; 32]>,
    pub(super) accepts_remote_config: bool,
}

/// Something to tell an agent.
#[derive(Debug)]
pub enum Event {
    /// Its policy has this configuration now.
    Configuration {
        /// The agent.
        uid: Uuid,
        /// All of it.
        config: RemoteConfig,
    },
    /// It was unenrolled.
    Unenrolled {
        /// The agent.
        uid: Uuid,
    },
    /// The server stops, or the agent has another connection.
    End,
}

/// An agent that is told.
pub struct Watch {
    fleet: Arc<Fleet>,
    subscription: Subscription,
    place: Place,
    /// Its record may have changed.
    rereads: bool,
    /// Its policy may have a newer revision.
    looks: bool,
}

impl Watch {
    /// Takes a place among those who wait. Ends the watch of the same agent that another connection has.
    #[must_use]
    pub fn begin(fleet: &Arc<Fleet>, place: Place) -> Self {
        let subscription = fleet.waiters.subscribe(
            place.agent.clone(),
            place.policy.clone(),
            place.revision,
            Timestamp::now(),
        );
        Self {
            fleet: Arc::clone(fleet),
            subscription,
            place,
            rereads: false,
            // A revision that was made since the answer woke nobody.
            looks: true,
        }
    }

    /// The next event. May be dropped at any moment: what was not told is told by the next call.
    pub async fn next(&mut self) -> Event {
        loop {
            if self.rereads && self.is_gone().await {
                return Event::Unenrolled { uid: self.place.uid };
            }
            if self.looks
                && let Some(config) = self.newer().await
            {
                return Event::Configuration {
                    uid: self.place.uid,
                    config,
                };
            }
            let reasons = self.subscription.woken().await;
            if reasons.released() {
                return Event::End;
            }
            self.rereads |= reasons.agent();
            self.looks |= reasons.policy();
        }
    }

    /// Reads the record; whether the agent was unenrolled. It stays to be read if the store cannot be asked.
    async fn is_gone(&mut self) -> bool {
        match self.fleet.store.agent(&self.place.agent).await {
            Ok(Some(agent)) if agent.is_active => {
                if agent.policy != self.place.policy {
                    self.place.policy = agent.policy;
                    self.place.revision = 0;
                    self.looks = true;
                }
                self.rereads = false;
                false
            }
            Ok(_) => {
                self.rereads = false;
                true
            }
            Err(error) => {
                log::warn!(
                    "fleet.agent.id":% = self.place.agent, "error.message":% = error;
                    "the record of an agent on an open connection is not read: its next message finds what changed"
                );
                self.rereads = false;
                false
            }
        }
    }

    /// The configuration of a newer revision, if it is another one for this agent.
    async fn newer(&mut self) -> Option<RemoteConfig> {
        let policy = newest_policy(&self.fleet, &self.place.policy).await;
        self.looks = false;
        let policy = policy.filter(|policy| policy.revision > self.place.revision)?;
        self.place.revision = policy.revision;
        self.subscription.moved(&self.place.policy, policy.revision);
        let config = offered(&policy, self.place.hash.is_some())
            .filter(|config| self.place.accepts_remote_config && self.place.hash != Some(config.hash))?;
        self.place.hash = Some(config.hash);
        Some(config)
    }
}
