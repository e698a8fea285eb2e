//! T57 to T65: what handshakes see while generations come and go.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use tls_reload::{ClientAuth, Generation, PairSource, PemSource, ReloadResult, Settings, Trigger};
use tokio::net::{TcpListener, TcpStream};

use crate::authority::{Authority, Kind, Order, Pair};
use crate::client::{client, client_of, greet, refusal, serve, shake};
use crate::site::{LIMIT, Site, by_events, directory, replace, settings, write};
use crate::writers::Kubelet;

/// A set with client CAs, in files of one directory.
fn trusting(root: &Path, mode: Option<ClientAuth>, authorities: &[&Authority]) -> Settings {
    let pem: String = authorities
        .iter()
        .map(|authority| authority.pem.as_str())
        .collect();
    fs::write(root.join("ca.crt"), pem).expect("write");
    let mut set = settings(root);
    set.client_authorities = vec![PemSource::Path(root.join("ca.crt"))];
    set.client_authentication = mode;
    set
}

async fn reload(site: &Site) {
    let outcome = site.handle.reload_now(Trigger::Api).await;
    assert!(
        matches!(outcome.result, ReloadResult::Success | ReloadResult::Unchanged),
        "{outcome:?}"
    );
}

/// R26: with tickets in hand, a new leaf of the same trust resumes.
#[tokio::test]
async fn t59_resumption_survives_a_leaf_change() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    for version in [&TLS12, &TLS13] {
        let site = Site::with(&a);
        let config = client(&root, version, None);
        let resolver = site.handle.resolver();
        assert_eq!(
            shake(&resolver, &config, "localhost").await.expect("first").kind,
            HandshakeKind::Full
        );
        assert_eq!(
            shake(&resolver, &config, "localhost").await.expect("second").kind,
            HandshakeKind::Resumed
        );
        write(site.root.path(), &b);
        reload(&site).await;
        assert_eq!(site.served(), b.fingerprint);
        assert_eq!(
            shake(&resolver, &config, "localhost").await.expect("third").kind,
            HandshakeKind::Resumed
        );
    }
}

#[tokio::test]
async fn t60_a_removed_client_ca_ends_its_sessions() {
    let root = Authority::new("root");
    let (old, new) = (Authority::new("old clients"), Authority::new("new clients"));
    let order = Order::new(&["client"]).client();
    let (ours, theirs) = (old.issue(&order), new.issue(&order));
    for version in [&TLS12, &TLS13] {
        let place = directory();
        write(place.path(), &root.server());
        let set = trusting(place.path(), None, &[&old, &new]);
        assert_eq!(set.client_auth(), ClientAuth::Required, "CAs make it required");
        let site = Site::serving(place, set);
        let resolver = site.handle.resolver();
        let (leaving, staying) = (
            client(&root, version, Some(&ours)),
            client(&root, version, Some(&theirs)),
        );
        for config in [&leaving, &staying] {
            assert_eq!(
                shake(&resolver, config, "localhost").await.expect("full").kind,
                HandshakeKind::Full
            );
            assert_eq!(
                shake(&resolver, config, "localhost").await.expect("resumed").kind,
                HandshakeKind::Resumed
            );
        }
        replace(&site.path("ca.crt"), &new.pem);
        reload(&site).await;
        assert_eq!(site.state().generation.client_authorities.len(), 1);
        let seen = shake(&resolver, &staying, "localhost")
            .await
            .expect("R25: no error");
        assert_eq!(seen.kind, HandshakeKind::Full, "R25: judged again");
        refusal(shake(&resolver, &leaving, "localhost").await);
        refusal(shake(&resolver, &client(&root, version, None), "localhost").await);
    }
}

#[tokio::test]
async fn t61_a_revoked_client_is_refused_at_its_next_handshake() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let order = Order::new(&["client"]).client();
    let (bad, good) = (clients.issue(&order), clients.issue(&order));
    let place = directory();
    write(place.path(), &root.server());
    fs::write(
        place.path().join("list"),
        clients.revoke(&[], time::Duration::days(9)),
    )
    .expect("write");
    let mut set = trusting(place.path(), None, &[&clients]);
    set.revocation_lists = vec![place.path().join("list")];
    let site = Site::serving(place, set);
    let resolver = site.handle.resolver();
    let (revoked, kept) = (
        client(&root, &TLS13, Some(&bad)),
        client(&root, &TLS13, Some(&good)),
    );
    for config in [&revoked, &kept] {
        shake(&resolver, config, "localhost").await.expect("accepted");
    }
    // Expired on purpose: still applied, with a warning.
    replace(
        &site.path("list"),
        &clients.revoke(&[bad.serial], -time::Duration::hours(1)),
    );
    site.until("the list", |state| {
        state
            .generation
            .revocation_lists
            .first()
            .is_some_and(|list| list.revoked == 1)
    })
    .await;
    let told = refusal(shake(&resolver, &revoked, "localhost").await);
    assert!(told.to_lowercase().contains("revoked"), "{told}");
    shake(&resolver, &kept, "localhost").await.expect("accepted");
    let state = site.state();
    assert!(
        state
            .generation
            .warnings
            .iter()
            .any(|warning| warning.contains("due for renewal")),
        "{state:?}"
    );
}

#[tokio::test]
async fn contract_2_a_client_ca_without_a_list_is_accepted_with_a_warning() {
    let (root, one, two) = (
        Authority::new("root"),
        Authority::new("one"),
        Authority::new("two"),
    );
    let stranger = Authority::new("stranger");
    let order = Order::new(&["client"]).client();
    let place = directory();
    write(place.path(), &root.server());
    let list = der_of(&one.revoke(&[], time::Duration::days(9)));
    fs::write(place.path().join("list"), list).expect("DER is read, too");
    fs::write(
        place.path().join("strange"),
        stranger.revoke(&[], time::Duration::days(9)),
    )
    .expect("write");
    let mut set = trusting(place.path(), None, &[&one, &two]);
    set.revocation_lists = vec![place.path().join("list"), place.path().join("strange")];
    let site = Site::serving(place, set);
    for clients in [&one, &two] {
        let config = client(&root, &TLS13, Some(&clients.issue(&order)));
        shake(&site.handle.resolver(), &config, "localhost")
            .await
            .expect("accepted");
    }
    let warnings = site.state().generation.warnings.join("\n");
    assert!(
        warnings.contains("CN=two") && warnings.contains("no revocation list speaks for it"),
        "{warnings}"
    );
    assert!(
        warnings.contains("stranger") && warnings.contains("is no client CA"),
        "{warnings}"
    );
}

fn der_of(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .expect("base64")
}

#[tokio::test]
async fn pins_narrow_the_client_authorities() {
    let (root, one, two) = (
        Authority::new("root"),
        Authority::new("one"),
        Authority::new("two"),
    );
    let order = Order::new(&["client"]).client();
    let place = directory();
    write(place.path(), &root.server());
    let mut set = trusting(place.path(), None, &[&one, &two]);
    set.ca_sha256 = vec![one.pin().parse().expect("a pin")];
    let site = Site::serving(place, set.clone());
    let resolver = site.handle.resolver();
    shake(
        &resolver,
        &client(&root, &TLS13, Some(&one.issue(&order))),
        "localhost",
    )
    .await
    .expect("pinned");
    refusal(
        shake(
            &resolver,
            &client(&root, &TLS13, Some(&two.issue(&order))),
            "localhost",
        )
        .await,
    );
    set.ca_sha256 = vec![root.pin().parse().expect("a pin")];
    let refused = Generation::load(&set, std::time::SystemTime::now()).expect_err("nobody is left");
    assert!(refused.to_string().contains("ca_sha256"), "{refused}");
}

/// T62, and every mode: the mode is configuration; files reload under it.
#[tokio::test]
async fn t62_the_mode_stays_while_files_reload() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let identity = clients.issue(&Order::new(&["client"]).client());
    let wrong = Authority::new("others").issue(&Order::new(&["client"]).client());
    for (mode, without, with_wrong) in [
        (ClientAuth::None, true, true),
        (ClientAuth::Optional, true, false),
        (ClientAuth::Required, false, false),
    ] {
        let place = directory();
        write(place.path(), &root.server());
        let set = trusting(place.path(), Some(mode), &[&clients]);
        let site = Site::serving(place, set);
        for _ in 0..2 {
            let resolver = site.handle.resolver();
            let outcome = shake(&resolver, &client(&root, &TLS13, None), "localhost").await;
            assert_eq!(outcome.is_ok(), without, "{mode:?}: {outcome:?}");
            let outcome = shake(&resolver, &client(&root, &TLS13, Some(&wrong)), "localhost").await;
            assert_eq!(outcome.is_ok(), with_wrong, "{mode:?}: {outcome:?}");
            shake(&resolver, &client(&root, &TLS13, Some(&identity)), "localhost")
                .await
                .expect("a good one");
            write(site.root.path(), &root.server());
            reload(&site).await;
            assert_eq!(site.state().generation.client_authentication, mode);
        }
    }
}

#[tokio::test]
async fn verification_mode_none_takes_any_certificate_and_checks_its_key() {
    let root = Authority::new("root");
    let place = directory();
    write(place.path(), &root.server());
    let mut set = settings(place.path());
    set.client_authentication = Some(ClientAuth::Required);
    set.verification_mode = tls_reload::VerificationMode::None;
    let site = Site::serving(place, set);
    let anybody = Authority::new("nobody knows").issue(&Order::new(&["client"]).client());
    for version in [&TLS12, &TLS13] {
        shake(
            &site.handle.resolver(),
            &client(&root, version, Some(&anybody)),
            "localhost",
        )
        .await
        .expect("accepted");
        refusal(
            shake(
                &site.handle.resolver(),
                &client(&root, version, None),
                "localhost",
            )
            .await,
        );
    }
}

#[tokio::test]
async fn t64_names() {
    let root = Authority::new("root");
    let order = |name: &str| Order::new(&[name]);
    let default = root.issue(&Order::new(&["localhost", "default.test"]));
    let exact = root.issue(&order("a.test"));
    let wild = root.issue(&order("*.wild.test"));
    let named = root.issue(&order("own.test"));
    let place = directory();
    let mut set = Settings {
        reload: by_events(),
        ..Settings::default()
    };
    for (number, pair) in [&default, &exact, &wild, &named].into_iter().enumerate() {
        let part = place.path().join(number.to_string());
        fs::create_dir(&part).expect("mkdir");
        write(&part, pair);
        set.pairs.extend(settings(&part).pairs);
    }
    set.pairs[3].names = vec!["OTHER.test".to_owned(), "a.test".to_owned()];
    let site = Site::serving(place, set);
    let resolver = site.handle.resolver();
    for (name, expected) in [
        ("a.test", &exact),
        ("A.TEST", &exact),
        ("x.wild.test", &wild),
        ("X.Wild.Test", &wild),
        ("wild.test", &default),
        ("y.x.wild.test", &default),
        ("default.test", &default),
        ("unknown.test", &default),
        ("other.test", &named),
        ("own.test", &default),
        ("127.0.0.1", &default),
    ] {
        let seen = shake(&resolver, &crate::client::blind(), name)
            .await
            .expect("a handshake");
        assert_eq!(seen.fingerprint, expected.fingerprint, "{name}");
        let generation = resolver.current();
        let selected = generation.certificate_for(Some(name)).cert[0].clone();
        assert_eq!(
            crate::authority::fingerprint(&selected),
            expected.fingerprint,
            "{name}"
        );
    }
    let generation = resolver.current();
    assert!(Arc::ptr_eq(
        generation.certificate_for(None),
        generation.certificate_for(Some("localhost"))
    ));
    assert!(
        generation
            .info()
            .warnings
            .iter()
            .any(|warning| warning.contains("a.test is in several pairs"))
    );
    assert_eq!(generation.info().pairs[3].sni, ["other.test"]);
    assert!(Arc::ptr_eq(
        generation.certificate_for(Some(&"a".repeat(400))),
        generation.certificate_for(None)
    ));
    assert!(Arc::ptr_eq(
        generation.certificate_for(Some(&"A".repeat(400))),
        generation.certificate_for(None)
    ));
}

#[tokio::test]
async fn t65_a_handshake_begun_before_the_swap_ends_with_the_old_pair() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let site = Site::with(&a);
    let resolver = site.handle.resolver();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let config = client(&root, &TLS13, None);
    let greeting = tokio::spawn({
        let config = config.clone();
        async move { greet(near, &config, "localhost").await }
    });
    let hello = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), far)
        .await
        .expect("a hello");
    let taken = resolver.server_config();
    write(site.root.path(), &b);
    reload(&site).await;
    assert_eq!(site.served(), b.fingerprint);
    let finish = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut tls = hello.into_stream(taken).await.expect("valid");
        let mut byte = [0];
        tls.read_exact(&mut byte).await.expect("read");
        tls.write_all(&byte).await.expect("write");
        tls.flush().await.expect("flush");
    };
    let ((), seen) = tokio::join!(finish, greeting);
    assert_eq!(
        seen.expect("joined").expect("a handshake").fingerprint,
        a.fingerprint
    );
    // A client that resumes would show the certificate it remembers: ask a fresh one.
    let fresh = client(&root, &TLS13, None);
    let next = shake(&resolver, &fresh, "localhost").await.expect("the next");
    assert_eq!(next.fingerprint, b.fingerprint);
}

/// R28: one pointer, however many listeners.
#[tokio::test]
async fn t63_two_listeners_serve_the_same_generation() {
    let root = Authority::new("root");
    let site = Site::with(&root.server());
    let (one, two) = (site.handle.resolver(), site.handle.resolver().clone());
    for _ in 0..20 {
        write(site.root.path(), &root.server());
        reload(&site).await;
        assert!(Arc::ptr_eq(&one.server_config(), &two.server_config()));
        assert_eq!(
            one.current().info().fingerprint(),
            site.state().generation.fingerprint()
        );
    }
}

/// Issue 5, point 4: a new intermediate with the same leaf is a reload.
#[tokio::test]
async fn a_new_intermediate_with_the_same_leaf_counts() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let leaf = middle.server();
    let chained = Pair {
        certificate: format!("{}{}", leaf.certificate, middle.pem),
        ..leaf.clone()
    };
    let site = Site::with(&chained);
    replace(
        &site.path("tls.crt"),
        &format!("{}{}", leaf.certificate, middle.renewed_by(&root, "middle")),
    );
    site.until("the second generation", |state| state.generation.number == 2)
        .await;
    let seen = shake(&site.handle.resolver(), &client(&root, &TLS13, None), "localhost")
        .await
        .expect("verified");
    assert_eq!((seen.fingerprint, seen.chain), (leaf.fingerprint, 2));
}

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
    let mut failures = 0;
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
            site.until("the rotation", |state| {
                state.generation.fingerprint() == pair.fingerprint
            })
            .await;
            latest = latest.max(last.elapsed().saturating_sub(debounce));
        }
        let done = load.stop().await;
        assert!(done.shakes > 0);
        println!(
            "{style}: {} handshakes, {} failed, the longest took {:?}",
            done.shakes, done.failures, done.longest
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
    println!(
        "{shakes} handshakes over {rotations} rotations: {failures} failed, longest {longest:?}, latest serving {latest:?} after the debounce"
    );
    assert_eq!(failures, 0);
    assert!(latest <= allowed, "served {latest:?} after the debounce");
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
    failures: u64,
    longest: Duration,
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
                        if let Err(error) = outcome {
                            done.failures += 1;
                            eprintln!("failed: {error}");
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
            all = Done {
                shakes: all.shakes + done.shakes,
                failures: all.failures + done.failures,
                longest: all.longest.max(done.longest),
            };
        }
        self.server.abort();
        all
    }
}

/// R24 and T58's heart: an established connection outlives any number of generations.
#[tokio::test]
async fn t58_running_connections_stay() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let root = Authority::new("root");
    let site = Site::with(&root.server());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let config = site.handle.resolver().server_config();
    let server = tokio::spawn(async move {
        let mut tls = tokio_rustls::TlsAcceptor::from(config)
            .accept(far)
            .await
            .expect("accepted");
        let mut byte = [0];
        while tls.read_exact(&mut byte).await.is_ok() {
            tls.write_all(&byte).await.expect("echo");
            tls.flush().await.expect("flush");
        }
    });
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut tls = tokio_rustls::TlsConnector::from(client(&root, &TLS13, None))
        .connect(name, near)
        .await
        .expect("connected");
    for turn in 0..20u8 {
        write(site.root.path(), &root.server());
        reload(&site).await;
        tls.write_all(&[turn]).await.expect("write");
        tls.flush().await.expect("flush");
        let mut byte = [0];
        tls.read_exact(&mut byte).await.expect("read");
        assert_eq!(byte, [turn]);
    }
    assert_eq!(site.state().generation.number, 21);
    drop(tls);
    tokio::time::timeout(LIMIT, server)
        .await
        .expect("ends")
        .expect("joined");
}

/// For users of plain `bind_rustls`: the resolver inside a configuration of their own.
#[tokio::test]
async fn the_resolver_serves_inside_a_fixed_configuration() {
    let root = Authority::new("root");
    let (a, b) = (root.server(), root.server());
    let site = Site::with(&a);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let fixed = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(site.handle.resolver()));
    let fixed = Arc::new(fixed);
    for pair in [&a, &b] {
        write(site.root.path(), pair);
        reload(&site).await;
        let (near, far) = tokio::io::duplex(64 * 1024);
        let accepted = tokio::spawn(tokio_rustls::TlsAcceptor::from(fixed.clone()).accept(far));
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let config = client_of(&[&root], &TLS13, None);
        let tls = tokio_rustls::TlsConnector::from(config)
            .connect(name, near)
            .await
            .expect("connected");
        let served = crate::authority::fingerprint(&tls.get_ref().1.peer_certificates().expect("a chain")[0]);
        assert_eq!(served, pair.fingerprint);
        accepted.await.expect("joined").expect("accepted");
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
