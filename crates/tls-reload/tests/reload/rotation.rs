//! T57: rotations in every writer's style while clients of every kind handshake without pause.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use tls_reload::{ClientAuth, PemSource};
use tokio::net::{TcpListener, TcpStream};

use crate::authority::{Authority, Kind, Order, Pair};
use crate::client::{client, greet, serve};
use crate::site::{Site, directory, replace, write};
use crate::swap::trusting;
use crate::writers::Kubelet;

/// T57: every writer, every kind of client, no failed handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t57_rotations_under_handshakes() {
    rotate(60, Duration::from_millis(40), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "torture: make torture"]
async fn t57_a_thousand_rotations_under_handshakes() {
    rotate(1000, Duration::from_millis(100), Duration::from_millis(100)).await;
}

/// One way to bring a pair.
type Bring = Box<dyn FnMut(&Pair) + Send>;

fn styles(place: &Path, first: &Pair) -> Vec<(&'static str, std::path::PathBuf, Bring)> {
    let at = |name: &str| {
        let at = place.join(name);
        fs::create_dir(&at).expect("mkdir");
        write(&at, first);
        at
    };
    let volume = place.join("kubelet");
    fs::create_dir(&volume).expect("mkdir");
    let mut kubelet = Kubelet::new(
        &volume,
        &[("tls.crt", &first.certificate), ("tls.key", &first.key)],
    );
    let (renamed, truncated, linked) = (at("renamed"), at("truncated"), place.join("current"));
    let store = place.join("store");
    fs::create_dir(&store).expect("mkdir");
    fs::create_dir(store.join("0")).expect("mkdir");
    write(&store.join("0"), first);
    std::os::unix::fs::symlink("store/0", &linked).expect("link");
    let mut turn = 0;
    let brings: Vec<(&'static str, std::path::PathBuf, Bring)> = vec![
        (
            "kubelet",
            volume,
            Box::new(move |pair: &Pair| kubelet.swap_pair(pair)),
        ),
        (
            "rename",
            renamed.clone(),
            Box::new(move |pair: &Pair| {
                replace(&renamed.join("tls.crt"), &pair.certificate);
                replace(&renamed.join("tls.key"), &pair.key);
            }),
        ),
        (
            "truncate",
            truncated.clone(),
            Box::new(move |pair: &Pair| write(&truncated, pair)),
        ),
        (
            "link",
            linked.clone(),
            Box::new(move |pair: &Pair| {
                turn += 1;
                fs::create_dir(store.join(turn.to_string())).expect("mkdir");
                write(&store.join(turn.to_string()), pair);
                let next = linked.with_extension("next");
                std::os::unix::fs::symlink(format!("store/{turn}"), &next).expect("link");
                fs::rename(&next, &linked).expect("rename");
                if turn > 1 {
                    fs::remove_dir_all(store.join((turn - 1).to_string())).expect("remove");
                }
            }),
        ),
    ];
    brings
}

async fn rotate(rotations: usize, debounce: Duration, allowed: Duration) {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let identity = clients.issue(&Order::new(&["client"]).client());
    let kinds = [Kind::P256, Kind::Rsa, Kind::Ed25519, Kind::P384];
    let pool: Vec<Pair> = (0..12)
        .map(|n| root.issue(&Order::new(&["localhost"]).kind(kinds[n % kinds.len()])))
        .collect();
    let place = directory();
    let lag = Lag::start();
    let (mut failures, mut delays) = (0, Vec::with_capacity(rotations));
    let (mut longest, mut latest, mut shakes) = (Duration::ZERO, Duration::ZERO, 0);
    for (style, at, mut bring) in styles(place.path(), &pool[0]) {
        let mut set = trusting(&at, Some(ClientAuth::Optional), &[&clients]);
        fs::rename(at.join("ca.crt"), place.path().join("ca.crt")).expect("rename");
        set.client_authorities = vec![PemSource::Path(place.path().join("ca.crt"))];
        set.reload.debounce = debounce;
        let site = Site::serving(directory(), set);
        let load = Load::start(
            &site,
            &[
                client(&root, &TLS13, None),
                client(&root, &TLS12, None),
                client(&root, &TLS13, Some(&identity)),
                client(&root, &TLS12, Some(&identity)),
            ],
        )
        .await;
        for turn in 1..=rotations.div_ceil(4) {
            let pair = &pool[turn % pool.len()];
            let next = pair.clone();
            bring = tokio::task::spawn_blocking(move || {
                bring(&next);
                bring
            })
            .await
            .expect("written");
            let last = Instant::now();
            lag.take();
            site.until("the rotation", |state| {
                state.generation.fingerprint() == pair.fingerprint
            })
            .await;
            let took = last.elapsed().saturating_sub(debounce);
            latest = latest.max(took);
            // What the machine itself withheld is nobody's delay.
            delays.push(took.saturating_sub(lag.take() * 3));
        }
        let done = load.stop().await;
        for (kind, own) in done.by_kind.iter().enumerate() {
            assert!(own.shakes > 0, "clients of kind {kind} did nothing");
            // Tickets and sessions were used, not only offered (reload.md 6.4).
            assert!(own.resumed > 0, "clients of kind {kind} never resumed");
        }
        println!(
            "{style}: {} handshakes ({} resumed), {} failed, the longest took {:?}",
            done.shakes, done.resumed, done.failures, done.longest
        );
        (failures, shakes, longest) = (
            failures + done.failures,
            shakes + done.shakes,
            longest.max(done.longest),
        );
        assert_eq!(
            site.state().generation.number as usize,
            rotations.div_ceil(4) + 1,
            "each rotation is one generation"
        );
    }
    delays.sort_unstable();
    let [half, most] = [50, 99].map(|share| delays[(delays.len() - 1) * share / 100]);
    println!(
        "{shakes} handshakes over {rotations} rotations: {failures} failed, the longest took {longest:?}"
    );
    println!(
        "served after the debounce: median {half:?}, 99 % {most:?} (without the machine's own stalls), latest {latest:?}"
    );
    assert_eq!(failures, 0);
    assert!(
        most <= allowed,
        "served {most:?} after the debounce, in one of a hundred rotations or more"
    );
}

/// Clients that handshake without pause, over loopback.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Done>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Done {
    shakes: u64,
    resumed: u64,
    failures: u64,
    longest: Duration,
    by_kind: Vec<Done>,
}

impl Load {
    async fn start(site: &Site, configs: &[Arc<ClientConfig>]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let resolver = site.handle.resolver();
        let server = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).expect("nodelay");
                // A failure shows at the client, too.
                tokio::spawn(serve(io, resolver.clone()));
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = configs
            .iter()
            .map(|config| {
                let (stop, config) = (stop.clone(), config.clone());
                tokio::spawn(async move {
                    let mut done = Done::default();
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let outcome = async {
                            let io = TcpStream::connect(address).await?;
                            io.set_nodelay(true)?;
                            greet(io, &config, "localhost").await
                        }
                        .await;
                        done.shakes += 1;
                        done.longest = done.longest.max(began.elapsed());
                        match outcome {
                            Ok(seen) => done.resumed += u64::from(seen.kind == HandshakeKind::Resumed),
                            Err(error) => {
                                done.failures += 1;
                                eprintln!("failed: {error}");
                            }
                        }
                    }
                    done
                })
            })
            .collect();
        Self { stop, tasks, server }
    }

    async fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        for task in self.tasks {
            let done = task.await.expect("joined");
            all.shakes += done.shakes;
            all.resumed += done.resumed;
            all.failures += done.failures;
            all.longest = all.longest.max(done.longest);
            all.by_kind.push(done);
        }
        self.server.abort();
        all
    }
}

/// How late a thread wakes on this machine, whatever it does.
pub(crate) struct Lag {
    worst: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Lag {
    pub(crate) fn start() -> Self {
        let lag = Self {
            worst: Arc::default(),
            stop: Arc::default(),
        };
        let (worst, stop) = (lag.worst.clone(), lag.stop.clone());
        std::thread::spawn(move || {
            let (_never, tick) = std::sync::mpsc::sync_channel::<()>(1);
            let step = Duration::from_millis(5);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert!(tick.recv_timeout(step).is_err());
                let late = began.elapsed().saturating_sub(step);
                worst.fetch_max(
                    u64::try_from(late.as_micros()).unwrap_or(u64::MAX),
                    Ordering::Relaxed,
                );
            }
        });
        lag
    }

    /// The worst since the last call.
    pub(crate) fn take(&self) -> Duration {
        Duration::from_micros(self.worst.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
