//! What one client may take of what all share. Bounded memory, whoever comes; nothing here waits.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::bucket::Bucket;

/// A token bucket for each client, in a fixed space: a client has two of the buckets, which others may use too, and is
/// refused when both are empty. Nobody outside knows who shares a bucket with whom.
#[derive(Debug)]
pub(crate) struct Shares<S = RandomState> {
    buckets: Box<[Bucket]>,
    hasher: S,
}

impl<S: Default> Default for Shares<S> {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            hasher: S::default(),
        }
    }
}

impl<S: BuildHasher> Shares<S> {
    /// Takes one token of the client, or tells how long until there is one.
    pub(crate) fn take(
        &self,
        client: impl Hash,
        interval: Duration,
        burst: u32,
        now: Duration,
    ) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(client);
        let [first, second] = places(hash).map(|place| {
            self.buckets
                .get(place)
                .map_or(Ok(()), |bucket| bucket.take(interval, burst, burst, now))
        });
        first.or(second)
    }
}

/// Two that are never the same: a client whose two were one would spend two tokens for each request.
fn places(hash: u64) -> [usize; 2] {
    let part = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
    let first = part(hash) % BUCKETS;
    [first, (first + 1 + part(hash >> 32) % (BUCKETS - 1)) % BUCKETS]
}

const BUCKETS: usize = 4096;

/// Requests that each agent has under way, polls that wait not counted.
#[derive(Debug, Default)]
pub(crate) struct OwnRequests {
    counts: Arc<Mutex<HashMap<u64, u32>>>,
    hasher: RandomState,
}

/// A request under way; over when dropped.
#[derive(Debug)]
pub(crate) struct OwnRequest {
    counts: Arc<Mutex<HashMap<u64, u32>>>,
    client: u64,
}

impl OwnRequests {
    /// Takes one of the client's few places.
    pub(crate) fn take(&self, client: impl Hash) -> Option<OwnRequest> {
        let client = self.hasher.hash_one(client);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= OWN_REQUESTS {
            return None;
        }
        *count += 1;
        Some(OwnRequest {
            counts: Arc::clone(&self.counts),
            client,
        })
    }
}

impl Drop for OwnRequest {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
        // What a storm of agents needed is given back after it.
        if counts.is_empty() && counts.capacity() > KEPT {
            counts.shrink_to_fit();
        }
    }
}

/// Agents send one check-in and one acknowledgement at a time.
const OWN_REQUESTS: u32 = 8;
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn attack_11_a_client_has_its_own_share_and_no_other() {
        // Whose buckets are whose does not depend on the run.
        let shares = Shares::<BuildHasherDefault<DefaultHasher>>::default();
        assert!(shares.take("a", SECOND, 2, SECOND).is_ok());
        assert!(shares.take("a", SECOND, 2, SECOND).is_ok());
        let wait = shares.take("a", SECOND, 2, SECOND).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= SECOND);
        assert!(shares.take("a", SECOND, 2, SECOND + wait).is_ok());
        let others = (0..200).filter(|n| shares.take(n, SECOND, 2, SECOND).is_ok());
        assert_eq!(
            others.count(),
            200,
            "two buckets are never both those of one busy client"
        );
    }

    #[test]
    fn a_clients_two_buckets_are_never_one() {
        for hash in [0, 1, u64::MAX, 4095 << 32, 4094 << 32 | 7, 4096 << 32 | 4095] {
            let [first, second] = places(hash);
            assert!(first != second && first < BUCKETS && second < BUCKETS, "{hash:x}");
        }
    }

    #[test]
    fn attack_11_a_client_has_a_few_requests_and_leaves_nothing_behind() {
        let requests = OwnRequests::default();
        let held: Vec<_> = (0..OWN_REQUESTS).map(|_| requests.take("a").unwrap()).collect();
        assert!(requests.take("a").is_none());
        assert!(requests.take("b").is_some());
        drop(held);
        assert!(requests.counts.lock().unwrap().is_empty());
        assert!(requests.take("a").is_some());
    }
}
