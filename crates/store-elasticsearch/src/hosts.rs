//! Which host is asked next: in turn, without those that did not answer.
//!
//! In: the hosts of the configuration, and what became of each request. Out: the next host. A host that failed is left
//! out for a second, then for twice as long each time, up to a minute; when all are out, the one that has waited longest
//! is tried, so that no outage outlasts its cause.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Url;

/// The hosts, with what is remembered of each.
#[derive(Debug)]
pub(crate) struct Hosts {
    hosts: Vec<Host>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Host {
    url: Url,
    failures: Mutex<Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// It is left out until then.
    out_until: Option<Instant>,
}

impl Hosts {
    /// At least one host.
    pub(crate) fn new(urls: Vec<Url>) -> Self {
        let hosts = urls.into_iter().map(|url| Host {
            url,
            failures: Mutex::new(Failures {
                count: 0,
                out_until: None,
            }),
        });
        Self {
            hosts: hosts.collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The place of the host to ask at `now`.
    pub(crate) fn next(&self, now: Instant) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let places = (0..self.hosts.len()).map(|step| (turn + step) % self.hosts.len());
        let out_until = |place: &usize| {
            self.hosts[*place]
                .failures()
                .out_until
                .filter(|until| *until > now)
        };
        places.min_by_key(out_until).unwrap_or(0)
    }

    pub(crate) fn url(&self, place: usize) -> &Url {
        &self.hosts[place].url
    }

    /// It answered, whatever it said.
    pub(crate) fn answered(&self, place: usize) {
        self.hosts[place].set(Failures {
            count: 0,
            out_until: None,
        });
    }

    /// It could not be asked, or was not able to answer.
    pub(crate) fn failed(&self, place: usize, now: Instant) {
        let host = &self.hosts[place];
        let count = host.failures().count.saturating_add(1);
        let out = FIRST_OUT
            .saturating_mul(1 << (count - 1).min(10))
            .min(LONGEST_OUT);
        host.set(Failures {
            count,
            out_until: Some(now + out),
        });
    }
}

impl Host {
    fn failures(&self) -> Failures {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, failures: Failures) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = failures;
    }
}

const FIRST_OUT: Duration = Duration::from_secs(1);
const LONGEST_OUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Hosts {
        let urls = ["http://a", "http://b", "http://c"].map(|text| text.parse().unwrap());
        Hosts::new(urls.to_vec())
    }

    #[test]
    fn hosts_take_turns_and_one_that_failed_waits_twice_as_long_each_time() {
        let (hosts, now) = (three(), Instant::now());
        let asked = |now| (0..6).map(|_| hosts.next(now)).collect::<Vec<_>>();
        assert_eq!(asked(now), [0, 1, 2, 0, 1, 2]);
        hosts.failed(1, now);
        assert!(!asked(now).contains(&1));
        let later = now + Duration::from_secs(1);
        assert!(asked(later).contains(&1));
        hosts.failed(1, later);
        assert!(!asked(later + Duration::from_millis(1999)).contains(&1));
        for _ in 0..100 {
            hosts.failed(1, later);
        }
        assert!(!asked(later + Duration::from_secs(59)).contains(&1));
        assert!(asked(later + LONGEST_OUT).contains(&1));
        hosts.answered(1);
        assert!(asked(later).contains(&1));
    }

    #[test]
    fn when_all_are_out_the_one_that_comes_back_first_is_asked() {
        let (hosts, now) = (three(), Instant::now());
        hosts.failed(2, now);
        for place in [0, 1, 2] {
            hosts.failed(place, now);
        }
        hosts.failed(0, now);
        assert_eq!((hosts.next(now), hosts.next(now)), (1, 1));
    }
}
