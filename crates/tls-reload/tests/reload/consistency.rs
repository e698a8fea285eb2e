//! T74 and T75: one generation is one state of the disk, however much of it there is and whoever swaps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tls_reload::{Generation, PairSource, PemSource, Settings};

use crate::authority::{Authority, Order, Pair};
use crate::site::{Site, by_events, directory, settings};
use crate::writers::Kubelet;

/// T75: many names, replaced together.
#[tokio::test]
async fn t75_many_certificates_are_replaced_together() {
    many(100).await;
}

#[tokio::test]
#[ignore = "torture: make torture"]
async fn t75_a_thousand_certificates_are_replaced_together() {
    many(1000).await;
}

async fn many(count: usize) {
    let root = Authority::new("root");
    let place = directory();
    let issue = || {
        (0..count)
            .map(|number| root.issue(&Order::new(&[&format!("n{number}.test")])))
            .collect::<Vec<_>>()
    };
    let files = |pairs: &[Pair]| {
        let names = pairs.iter().enumerate();
        names
            .flat_map(|(n, pair)| {
                [
                    (format!("{n}.crt"), pair.certificate.clone()),
                    (format!("{n}.key"), pair.key.clone()),
                ]
            })
            .collect::<Vec<_>>()
    };
    let (first, second) = (issue(), issue());
    let first_files = files(&first);
    let mut kubelet = Kubelet::new(
        place.path(),
        &first_files
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect::<Vec<_>>(),
    );
    let source = |name: String| PemSource::Path(place.path().join(name));
    let pairs = (0..count)
        .map(|n| PairSource::new(source(format!("{n}.crt")), Some(source(format!("{n}.key")))))
        .collect();
    let set = Settings {
        pairs,
        reload: by_events(),
        ..Settings::default()
    };
    let site = Site::serving(place, set);
    let served = |generation: &Generation, number: usize| {
        crate::authority::fingerprint(&generation.certificate_for(Some(&format!("n{number}.test"))).cert[0])
    };
    let stop = Arc::new(AtomicBool::new(false));
    let looking = tokio::task::spawn_blocking({
        let (resolver, stop) = (site.handle.resolver(), stop.clone());
        let (old, new) = (
            first[0].fingerprint.clone(),
            second[count - 1].fingerprint.clone(),
        );
        let served = move |generation: &Generation, number: usize| {
            crate::authority::fingerprint(
                &generation.certificate_for(Some(&format!("n{number}.test"))).cert[0],
            )
        };
        move || {
            while !stop.load(Ordering::Relaxed) {
                let generation = resolver.current();
                let (is_old, is_new) = (
                    served(&generation, 0) == old,
                    served(&generation, count - 1) == new,
                );
                assert_ne!(is_old, is_new, "one generation serves names of two");
            }
        }
    });
    let second_files = files(&second);
    kubelet.swap(
        &second_files
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect::<Vec<_>>(),
    );
    site.until("all of them", |state| state.generation.number == 2)
        .await;
    stop.store(true, Ordering::Relaxed);
    looking.await.expect("never mixed");
    let generation = site.handle.resolver().current();
    for (number, pair) in second.iter().enumerate() {
        assert_eq!(served(&generation, number), pair.fingerprint);
    }
}

/// T74: the product's own reader, real files, a writer that swaps all the time.
#[test]
fn t74_reads_are_never_mixed() {
    mixed(10_000, 100);
}

#[test]
#[ignore = "torture: make torture"]
fn t74_a_hundred_thousand_reads_are_never_mixed() {
    mixed(100_000, 1_000);
}

fn mixed(reads: u64, least_swaps: u64) {
    let authority = Authority::new("root");
    // The CA file tells which pair it belongs to, so that a mixture is seen even where the pair fits.
    let sets: Vec<(Pair, Authority)> = (0..4)
        .map(|n| (authority.server(), Authority::new(&format!("set {n}"))))
        .collect();
    let root = directory();
    let files = |n: usize| {
        let (pair, ca) = &sets[n % sets.len()];
        [
            ("tls.crt", pair.certificate.as_str()),
            ("tls.key", pair.key.as_str()),
            ("ca.crt", ca.pem.as_str()),
        ]
    };
    let mut kubelet = Kubelet::new(root.path(), &files(0));
    let mut set = settings(root.path());
    set.client_authorities = vec![PemSource::Path(root.path().join("ca.crt"))];
    let stop = AtomicBool::new(false);
    let [swaps, whole, unsettled, mixed] = [const { AtomicU64::new(0) }; 4];
    let read = || {
        while whole.load(Ordering::Relaxed) < reads || swaps.load(Ordering::Relaxed) < least_swaps {
            match Generation::load(&set, std::time::SystemTime::now()) {
                Ok(generation) => {
                    let info = generation.info();
                    let place = sets
                        .iter()
                        .position(|(pair, _)| pair.fingerprint == info.fingerprint());
                    let expected = crate::authority::fingerprint(&sets[place.expect("one of ours")].1.der);
                    whole.fetch_add(1, Ordering::Relaxed);
                    let is_mixed = info.client_authorities[0].fingerprint != expected;
                    mixed.fetch_add(u64::from(is_mixed), Ordering::Relaxed);
                }
                Err(refused) => match refused.reason() {
                    tls_reload::FailureReason::Unsettled => drop(unsettled.fetch_add(1, Ordering::Relaxed)),
                    other => panic!("{other:?}: {refused}"),
                },
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (_never, pace) = std::sync::mpsc::sync_channel::<()>(1);
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                kubelet.swap(&files(turn));
                swaps.fetch_add(1, Ordering::Relaxed);
                assert!(pace.recv_timeout(Duration::from_micros(500)).is_err());
            }
        });
        let readers = [scope.spawn(read), scope.spawn(read)];
        let outcomes = readers.map(std::thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            outcome.expect("every refusal is a set that would not settle");
        }
    });
    println!("{whole:?} reads against {swaps:?} swaps: {mixed:?} mixed, {unsettled:?} put off");
    assert_eq!(mixed.into_inner(), 0);
}
