//! T58 to T65: what handshakes see while generations come and go.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tls_reload::{ClientAuth, Generation, PemSource, ReloadResult, Resolver, Settings, Trigger};

use crate::authority::{Authority, Order, Pair};
use crate::client::{client, client_of, greet, refusal, shake};
use crate::site::{LIMIT, Site, by_events, directory, replace, settings, write};

/// A set with client CAs, in files of one directory.
pub(crate) fn trusting(root: &Path, mode: Option<ClientAuth>, authorities: &[&Authority]) -> Settings {
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

/// reload.md 6.4: with tickets in hand, a new leaf of the same trust resumes.
#[tokio::test]
async fn t59_r26_resumption_survives_a_leaf_change() {
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
async fn t60_r25_a_removed_client_ca_ends_its_sessions() {
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
            .expect("reload.md 6.3: no error");
        assert_eq!(seen.kind, HandshakeKind::Full, "reload.md 6.3: judged again");
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
async fn a_client_ca_without_a_list_is_accepted_with_a_warning() {
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
        // Another mode in the configuration is the next start's: what runs keeps its own, reload or not.
        let next = match mode {
            ClientAuth::Required => ClientAuth::None,
            _ => ClientAuth::Required,
        };
        let changed = Settings {
            client_authentication: Some(next),
            ..set_of(&site, &clients)
        };
        write(site.root.path(), &root.server());
        reload(&site).await;
        assert_eq!(site.state().generation.client_authentication, mode);
        let restarted = Generation::load(&changed, std::time::SystemTime::now()).expect("served");
        assert_eq!(restarted.info().client_authentication, next);
    }
}

fn set_of(site: &Site, clients: &Authority) -> Settings {
    trusting(site.root.path(), None, &[clients])
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
async fn t64_r27_names() {
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

/// reload.md 6.6: what one listener serves before and after, the other serves in between, while generations come and
/// go.
#[tokio::test]
async fn t63_r28_two_listeners_serve_the_same_generation() {
    let root = Authority::new("root");
    let site = Site::with(&root.server());
    let (one, two) = (site.handle.resolver(), site.handle.resolver());
    let look = async |resolver: &Resolver| {
        // A client without a memory: one that resumes shows the certificate it remembers.
        let fresh = client(&root, &TLS13, None);
        shake(resolver, &fresh, "localhost")
            .await
            .expect("a handshake")
            .fingerprint
    };
    let rotate = async {
        for _ in 0..30 {
            write(site.root.path(), &root.server());
            reload(&site).await;
        }
    };
    let compare = async {
        let mut agreed = 0;
        while site.state().generation.number <= 30 || agreed == 0 {
            let (before, other, after) = (look(&one).await, look(&two).await, look(&one).await);
            if before == after {
                assert_eq!(other, before, "no leaf comes twice");
                agreed += 1;
            }
        }
        agreed
    };
    let ((), agreed) = tokio::join!(rotate, compare);
    println!("{agreed} times compared over 30 rotations");
    assert_eq!(look(&one).await, site.served());
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

/// reload.md 6.2 and T58's heart: an established connection outlives any number of generations.
#[tokio::test]
async fn t58_r24_running_connections_stay() {
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
