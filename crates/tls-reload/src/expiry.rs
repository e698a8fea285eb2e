//! Remaining life of what is served: which threshold is crossed, when the next one comes, and the health of
//! reload.md 8.3.
//!
//! A chain lives as long as the first of its certificates that ends: from then on clients refuse the leaf.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::moment::rfc3339;
use crate::state::{CertificateInfo, GenerationInfo, ServedPair};

/// Which thresholds were announced, by chain. Pure but for that memory: time is an argument.
pub(crate) struct Expiry {
    /// The largest first; the end itself is the last.
    thresholds: Vec<Duration>,
    announced: HashMap<String, usize>,
}

/// A served chain that came closer to its end than a threshold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    /// Zero: it has ended.
    pub(crate) threshold: Duration,
    /// The certificate's.
    pub(crate) file: String,
    pub(crate) message: String,
}

impl Expiry {
    pub(crate) fn new(thresholds: &[Duration]) -> Self {
        let mut thresholds = thresholds.to_vec();
        thresholds.push(Duration::ZERO);
        thresholds.sort_unstable_by(|a, b| b.cmp(a));
        thresholds.dedup();
        Self {
            thresholds,
            announced: HashMap::new(),
        }
    }

    /// The thresholds crossed since the last call; of several at once only the nearest to the end.
    pub(crate) fn crossed(&mut self, info: &GenerationInfo, now: SystemTime) -> Vec<Crossing> {
        self.announced
            .retain(|chain, _| info.pairs.iter().any(|pair| key(pair) == *chain));
        let mut crossings = Vec::new();
        for pair in &info.pairs {
            let left = remaining(pair, now);
            let count = self
                .thresholds
                .iter()
                .take_while(|threshold| left <= **threshold)
                .count();
            let before = self.announced.insert(key(pair), count).unwrap_or(0);
            // A clock set back takes back the crossing; it is announced again when it comes again.
            if count <= before {
                continue;
            }
            if let Some(threshold) = self.thresholds.get(count - 1) {
                crossings.push(Crossing {
                    threshold: *threshold,
                    file: pair.certificate_file.clone(),
                    message: describe(pair, left),
                });
            }
        }
        crossings
    }

    /// How long until the next threshold of any leaf.
    pub(crate) fn next(&self, info: &GenerationInfo, now: SystemTime) -> Option<Duration> {
        let next = |pair: &ServedPair| {
            let left = remaining(pair, now);
            self.thresholds
                .iter()
                .find(|threshold| left > **threshold)
                .map(|threshold| left - *threshold)
        };
        info.pairs.iter().filter_map(next).min()
    }

    /// reload.md 8.3: a served chain that is within the smallest warning, ended, not valid yet, or refused by clients.
    pub(crate) fn degraded(&self, info: &GenerationInfo, now: SystemTime) -> Option<String> {
        let smallest = self
            .thresholds
            .iter()
            .rev()
            .find(|threshold| !threshold.is_zero())
            .copied()
            .unwrap_or_default();
        info.pairs.iter().find_map(|pair| {
            let left = remaining(pair, now);
            let file = &pair.certificate_file;
            let mut chain = std::iter::once(&pair.leaf).chain(&pair.issuers);
            if let Some(later) = chain.find(|one| one.not_before > now) {
                let (whose, from) = (whose(pair, later), rfc3339(later.not_before));
                return Some(format!("{whose}certificate {file} is not valid before {from}"));
            }
            if let Some(fault) = pair.faults.first() {
                return Some(fault.clone());
            }
            (left <= smallest).then(|| describe(pair, left))
        })
    }
}

fn remaining(pair: &ServedPair, now: SystemTime) -> Duration {
    pair.ends_first()
        .not_after
        .duration_since(now)
        .unwrap_or_default()
}

/// A leaf with another issuer's certificate beside it has other news.
fn key(pair: &ServedPair) -> String {
    format!("{} {}", pair.leaf.fingerprint, pair.ends_first().fingerprint)
}

/// Whose certificate of a file it is.
fn whose(pair: &ServedPair, one: &CertificateInfo) -> String {
    if *one == pair.leaf {
        return String::new();
    }
    format!("the issuer `{}` in ", one.subject)
}

fn describe(pair: &ServedPair, left: Duration) -> String {
    let first = pair.ends_first();
    let (file, end, whose) = (
        &pair.certificate_file,
        rfc3339(first.not_after),
        whose(pair, first),
    );
    if left.is_zero() {
        return format!("{whose}served certificate {file} expired at {end}");
    }
    let hours = left.as_secs() / 3600;
    let words = match hours {
        0 => format!("{} minutes", left.as_secs() / 60),
        1..=47 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    };
    format!("{whose}served certificate {file} ends in {words}, at {end}")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::names::ClientAuth;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn day(number: u32) -> SystemTime {
        UNIX_EPOCH + DAY * number
    }

    /// Valid from day 10 to day 100.
    fn info() -> GenerationInfo {
        let leaf = CertificateInfo {
            fingerprint: "f".to_owned(),
            serial: "1".to_owned(),
            subject: "CN=leaf".to_owned(),
            issuer_common_name: "root".to_owned(),
            names: Vec::new(),
            not_before: day(10),
            not_after: day(100),
            key: "Ed25519".to_owned(),
        };
        let pair = ServedPair {
            leaf,
            intermediates: 0,
            issuers: Vec::new(),
            faults: Vec::new(),
            sni: Vec::new(),
            certificate_file: "tls.crt".to_owned(),
            key_file: "tls.key".to_owned(),
        };
        GenerationInfo {
            number: 1,
            loaded_at: day(10),
            pairs: vec![pair],
            client_authentication: ClientAuth::None,
            client_authorities: Vec::new(),
            revocation_lists: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn thresholds(crossings: &[Crossing]) -> Vec<u64> {
        crossings
            .iter()
            .map(|crossing| crossing.threshold.as_secs() / DAY.as_secs())
            .collect()
    }

    #[test]
    fn r35_each_threshold_is_announced_once() {
        let (info, mut expiry) = (info(), Expiry::new(&[DAY, DAY * 30, DAY * 7]));
        assert_eq!(thresholds(&expiry.crossed(&info, day(60))), [0u64; 0]);
        assert_eq!(expiry.next(&info, day(60)), Some(DAY * 10));
        assert_eq!(thresholds(&expiry.crossed(&info, day(70))), [30]);
        assert_eq!(thresholds(&expiry.crossed(&info, day(71))), [0u64; 0]);
        assert_eq!(expiry.next(&info, day(71)), Some(DAY * 22));
        assert_eq!(expiry.degraded(&info, day(95)), None, "a week is a warning");
        assert_eq!(
            thresholds(&expiry.crossed(&info, day(99))),
            [1],
            "of two the nearest"
        );
        assert!(
            expiry
                .degraded(&info, day(99))
                .is_some_and(|why| why.contains("ends in 24 hours"))
        );
        let ended = expiry.crossed(&info, day(101));
        assert_eq!(thresholds(&ended), [0]);
        assert!(
            ended[0].message.contains("expired at 1970-04-11T00:00:00Z"),
            "{ended:?}"
        );
        assert_eq!(expiry.next(&info, day(101)), None);
    }

    #[test]
    fn t72_a_clock_set_back_announces_again_when_it_comes_again() {
        let (info, mut expiry) = (info(), Expiry::new(&[DAY * 7]));
        assert_eq!(thresholds(&expiry.crossed(&info, day(95))), [7]);
        assert_eq!(thresholds(&expiry.crossed(&info, day(50))), [0u64; 0]);
        assert_eq!(thresholds(&expiry.crossed(&info, day(95))), [7]);
        assert!(
            expiry
                .degraded(&info, day(5))
                .is_some_and(|why| why.contains("not valid before"))
        );
    }

    #[test]
    fn r35_a_chain_ends_with_the_first_of_its_certificates() {
        let (mut info, mut expiry) = (info(), Expiry::new(&[DAY * 7]));
        let issuer = CertificateInfo {
            fingerprint: "i".to_owned(),
            subject: "CN=middle".to_owned(),
            not_before: day(8),
            not_after: day(50),
            ..info.pairs[0].leaf.clone()
        };
        info.pairs[0].issuers = vec![issuer];
        assert_eq!(info.not_after(), Some(day(50)));
        assert_eq!(expiry.next(&info, day(40)), Some(DAY * 3));
        let crossed = expiry.crossed(&info, day(45));
        assert_eq!(thresholds(&crossed), [7]);
        assert!(
            crossed[0]
                .message
                .starts_with("the issuer `CN=middle` in served certificate tls.crt ends in 5 days"),
            "{crossed:?}"
        );
        assert!(
            expiry
                .degraded(&info, day(51))
                .is_some_and(|why| why.contains("`CN=middle`"))
        );
        info.pairs[0].issuers[0].not_before = day(20);
        assert!(
            expiry
                .degraded(&info, day(15))
                .is_some_and(|why| why.contains("`CN=middle` in certificate tls.crt is not valid before"))
        );
        // The issuer's renewal is news of its own, and so is what comes after it.
        info.pairs[0].issuers[0].fingerprint = "j".to_owned();
        info.pairs[0].issuers[0].not_after = day(60);
        assert_eq!(thresholds(&expiry.crossed(&info, day(55))), [7]);
        info.pairs[0].issuers.clear();
        info.pairs[0].faults = vec!["certificate tls.crt: `CN=leaf` is signed with MD5".to_owned()];
        assert!(
            expiry
                .degraded(&info, day(55))
                .is_some_and(|why| why.contains("MD5"))
        );
    }
}
