//! Which presented keys Elasticsearch accepted or refused a short time ago (data.md 10.5).
//!
//! In: what became of a key, and the time. Out: what is still true of it. It keeps a hash of a secret, never the secret,
//! and so many keys at most. What Kibana ends (enrollment keys) counts for a minute; what may be seen among the
//! invalidated keys counts for a quarter of an hour, but only while somebody looks at those each minute.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use store::{ApiKey, Digest, KeyId, KeyOwner, Verification};

/// What is remembered of presented keys.
#[derive(Debug)]
pub(crate) struct Verified {
    accepted: Cache<KeyId, Accepted>,
    refused: Cache<Digest, Instant>,
    /// When the keys that were invalidated were looked at last.
    looked: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug)]
struct Accepted {
    secret: Digest,
    owner: KeyOwner,
    at: Instant,
}

impl Verified {
    /// Remembers so many keys of each kind.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            accepted: Cache::new(capacity),
            refused: Cache::new(capacity),
            looked: Mutex::new(None),
        }
    }

    /// What is known of the key; `None`: Elasticsearch must be asked.
    pub(crate) fn find(&self, key: &ApiKey, now: Instant) -> Option<Verification> {
        let secret = hash(key);
        if let Some(known) = self.accepted.get(&key.id)
            && known.secret == secret
            && now.saturating_duration_since(known.at) < self.lifetime(&known.owner, now)
        {
            return Some(Verification::Active(known.owner));
        }
        let refused = self.refused.get(&secret)?;
        (now.saturating_duration_since(refused) < REFUSED).then_some(Verification::Unknown)
    }

    /// Elasticsearch accepted or issued the key.
    pub(crate) fn accept(&self, key: &ApiKey, owner: KeyOwner, now: Instant) {
        let secret = hash(key);
        self.refused.remove(&secret);
        let known = Accepted {
            secret,
            owner,
            at: now,
        };
        self.accepted.insert(key.id.clone(), known);
    }

    /// Elasticsearch refused the key.
    pub(crate) fn refuse(&self, key: &ApiKey, now: Instant) {
        let secret = hash(key);
        if self
            .accepted
            .get(&key.id)
            .is_some_and(|known| known.secret == secret)
        {
            self.accepted.remove(&key.id);
        }
        self.refused.insert(secret, now);
    }

    /// These keys were invalidated.
    pub(crate) fn forget(&self, ids: &[KeyId]) {
        for id in ids {
            self.accepted.remove(id);
        }
    }

    /// The keys that were invalidated up to `now` are forgotten.
    pub(crate) fn looked(&self, now: Instant) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn lifetime(&self, owner: &KeyOwner, now: Instant) -> Duration {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_watched = looked.is_some_and(|at| now.saturating_duration_since(at) < UNSEEN);
        match owner {
            KeyOwner::Agent(_) | KeyOwner::Operator if is_watched => WATCHED,
            _ => UNSEEN,
        }
    }
}

fn hash(key: &ApiKey) -> Digest {
    let mut hash = Sha256::new();
    hash.update(key.id.as_str());
    hash.update(":");
    hash.update(key.secret().reveal());
    Digest::from(<[u8; 32]>::from(hash.finalize()))
}

/// How long a key counts that is seen among the invalidated ones.
const WATCHED: Duration = Duration::from_secs(15 * 60);
/// How long one counts that is not, or while nobody looks.
const UNSEEN: Duration = Duration::from_secs(60);
/// How long a refused key is refused without a call.
const REFUSED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    fn key(text: &str) -> ApiKey {
        ApiKey::from_token(&STANDARD.encode(text)).unwrap()
    }

    #[test]
    fn an_accepted_key_counts_for_a_minute_and_longer_while_invalidated_keys_are_looked_at() {
        let (verified, start) = (Verified::new(10), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (agents, tokens) = (key("a:1"), key("t:1"));
        let agent = KeyOwner::Agent("a".into());
        verified.accept(&agents, agent.clone(), start);
        verified.accept(&tokens, KeyOwner::Token("t".into()), start);
        assert_eq!(
            verified.find(&agents, at(59)),
            Some(Verification::Active(agent.clone()))
        );
        assert_eq!(verified.find(&agents, at(60)), None);
        verified.looked(at(50));
        assert_eq!(verified.find(&agents, at(100)), Some(Verification::Active(agent)));
        assert_eq!(
            verified.find(&agents, at(110)),
            None,
            "nobody looked for a minute"
        );
        assert_eq!(verified.find(&tokens, at(61)), None, "Kibana's keys are not seen");
        verified.looked(at(15 * 60));
        assert_eq!(verified.find(&agents, at(15 * 60)), None);
        verified.accept(&agents, KeyOwner::Operator, start);
        verified.forget(std::slice::from_ref(&agents.id));
        assert_eq!(verified.find(&agents, start), None);
    }

    #[test]
    fn a_wrong_secret_is_refused_by_itself() {
        let (verified, start) = (Verified::new(10), Instant::now());
        let (right, wrong) = (key("a:1"), key("a:2"));
        verified.accept(&right, KeyOwner::Operator, start);
        assert_eq!(verified.find(&wrong, start), None);
        verified.refuse(&wrong, start);
        assert_eq!(verified.find(&wrong, start), Some(Verification::Unknown));
        assert!(matches!(
            verified.find(&right, start),
            Some(Verification::Active(_))
        ));
        assert_eq!(verified.find(&wrong, start + REFUSED), None);
        verified.refuse(&right, start);
        assert_eq!(verified.find(&right, start), Some(Verification::Unknown));
    }

    #[test]
    fn so_many_are_remembered_at_most() {
        let (verified, start) = (Verified::new(100), Instant::now());
        for n in 0..10_000 {
            verified.accept(&key(&format!("{n}:s")), KeyOwner::Operator, start);
            verified.refuse(&key(&format!("{n}:wrong")), start);
        }
        assert!(verified.accepted.len() <= 100 && verified.refused.len() <= 100);
    }
}
