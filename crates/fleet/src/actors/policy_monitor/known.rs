//! What is known of the policies that somebody asked for. Pure: versions and renderings go in, answers come out.
//!
//! One bad revision concerns only its policy: the last good one stays (D14, D15).

use std::{collections::HashMap, sync::Arc};

use store::{PolicyId, PolicyRevision, Timestamp};

use crate::{FleetError, rendered_policy::RenderedPolicy};

/// The newest revision that can be delivered; `None` if there is no such policy.
pub(super) type Answer = Result<Option<Arc<RenderedPolicy>>, FleetError>;

/// A revision of a policy. A policy of the same name that was deleted had another time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: i64,
    created_at: Timestamp,
}

impl Version {
    pub(super) const fn of(stored: &PolicyRevision) -> Self {
        Self {
            revision: stored.revision,
            created_at: stored.created_at,
        }
    }

    /// Reports may come in the other order: the higher revision stays (M6).
    fn replaces(self, other: Self) -> bool {
        self.revision > other.revision || self.created_at != other.created_at
    }
}

/// An immutable map, as check-ins read it.
pub(super) type Policies = HashMap<PolicyId, Known>;

#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The newest revision, rendered or not.
    newest: Version,
    /// The newest one that agents can run.
    good: Option<(Version, Arc<RenderedPolicy>)>,
    /// Why the newest one is not the good one, if it was tried.
    fault: Option<FleetError>,
}

impl Known {
    pub(super) const fn new(newest: Version) -> Self {
        Self {
            newest,
            good: None,
            fault: None,
        }
    }

    pub(super) const fn newest(&self) -> Version {
        self.newest
    }

    /// The answer, unless the newest revision must be rendered first.
    pub(super) fn answer(&self) -> Option<Answer> {
        let is_tried =
            self.fault.is_some() || self.good.as_ref().is_some_and(|(good, _)| *good == self.newest);
        is_tried.then(|| self.best())
    }

    /// The answer from what is rendered by now.
    pub(super) fn best(&self) -> Answer {
        match (&self.good, &self.fault) {
            (Some((_, good)), _) => Ok(Some(Arc::clone(good))),
            (None, Some(fault)) => Err(fault.clone()),
            (None, None) => Ok(None),
        }
    }

    /// There is this revision; `true` if it is news.
    pub(super) fn note(&mut self, version: Version) -> bool {
        let is_news = version.replaces(self.newest);
        if is_news {
            self.newest = version;
            self.fault = None;
        }
        is_news
    }

    pub(super) fn rendered(&mut self, version: Version, outcome: Result<Arc<RenderedPolicy>, FleetError>) {
        self.note(version);
        match outcome {
            Ok(new) if self.good.as_ref().is_none_or(|(old, _)| version.replaces(*old)) => {
                self.good = Some((version, new));
            }
            Err(fault) if version == self.newest => self.fault = Some(fault),
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use store::RawJson;

    use super::*;

    fn version(revision: i64, created_at: i64) -> Version {
        let created_at = Timestamp::from_millis(created_at);
        Version { revision, created_at }
    }

    fn rendered(version: Version, data: &str) -> Result<Arc<RenderedPolicy>, FleetError> {
        let stored = PolicyRevision {
            policy: "P".into(),
            revision: version.revision,
            data: RawJson::parse(data.into()).unwrap(),
            settings: RawJson::parse("{}".into()).unwrap(),
            namespaces: vec![],
            inactivity_timeout: None,
            at: version.created_at,
            created_at: version.created_at,
        };
        RenderedPolicy::render(&stored, &HashMap::new())
    }

    const GOOD: &str = r#"{"outputs":{"o":{"type":"kafka"}}}"#;

    fn revision(answer: Option<Answer>) -> Option<i64> {
        answer.map(|answer| answer.unwrap().unwrap().revision)
    }

    #[test]
    fn d3_m6_the_higher_revision_stays_and_a_newer_one_must_be_rendered_first() {
        let mut known = Known::new(version(2, 0));
        assert!(known.answer().is_none());
        known.rendered(version(2, 0), rendered(version(2, 0), GOOD));
        assert_eq!(revision(known.answer()), Some(2));
        known.rendered(version(1, 0), rendered(version(1, 0), GOOD));
        assert!(!known.note(version(1, 0)));
        assert_eq!(revision(known.answer()), Some(2));
        assert!(known.note(version(3, 0)));
        assert!(known.answer().is_none());
        assert_eq!(revision(Some(known.best())), Some(2));
        assert!(known.note(version(1, 7)), "the namesake of one that was deleted");
        known.rendered(version(1, 7), rendered(version(1, 7), GOOD));
        assert_eq!(revision(known.answer()), Some(1));
    }

    #[test]
    fn d14_d15_the_last_good_revision_stays() {
        let mut known = Known::new(version(1, 0));
        known.rendered(version(1, 0), rendered(version(1, 0), "{}"));
        assert!(known.answer().unwrap().is_err());
        known.rendered(version(2, 0), rendered(version(2, 0), GOOD));
        known.rendered(version(3, 0), rendered(version(3, 0), "{}"));
        assert_eq!(revision(known.answer()), Some(2));
    }
}
