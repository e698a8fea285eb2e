//! Every certificate of a served chain is judged as a client would: a warning each, in log, state and health; the
//! earliest end of the chain in metric and alert; and what a client that trusts some CA says of it all.

use std::time::SystemTime;

use prometheus_client::registry::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose,
    NameConstraints,
};
use time::{Duration, OffsetDateTime};
use tls_reload::{AsClient, ChainFault, ClientRefusal, Generation, ReloadMetrics, Reloader, Warning};

use crate::authority::{Authority, Order, Pair};
use crate::client::{client, shake};
use crate::records;
use crate::site::{Site, directory, settings, write};
use crate::start::load;
use crate::told::{metric, scrape};

/// A leaf under an intermediate that `change` has spoiled, with both in the file.
fn under(root: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let middle = root.intermediate_with("middle", change);
    behind(&middle.server(), &middle.pem)
}

fn behind(leaf: &Pair, others: &str) -> Pair {
    Pair {
        certificate: format!("{}{others}", leaf.certificate),
        ..leaf.clone()
    }
}

fn faults(generation: &Generation) -> Vec<ChainFault> {
    let fault = |warning: &Warning| match warning {
        Warning::Chain { fault, .. } => Some(fault.clone()),
        _ => None,
    };
    generation.warnings().iter().filter_map(fault).collect()
}

fn loaded(pair: &Pair) -> Generation {
    let place = directory();
    write(place.path(), pair);
    load(&settings(place.path())).expect("served with a warning")
}

#[tokio::test]
async fn r20_what_clients_refuse_about_a_chain_is_a_warning_and_they_do_refuse_it() {
    type Spoil = fn(&mut CertificateParams);
    type IsFault = fn(&ChainFault) -> bool;
    let cases: [(Spoil, IsFault); 7] = [
        (
            |params| params.not_after = OffsetDateTime::now_utc() - Duration::days(1),
            |fault| matches!(fault, ChainFault::Expired(_)),
        ),
        (
            |params| params.not_before = OffsetDateTime::now_utc() + Duration::days(9),
            |fault| matches!(fault, ChainFault::NotYetValid(_)),
        ),
        (
            |params| params.is_ca = IsCa::ExplicitNoCa,
            |fault| matches!(fault, ChainFault::NotAnAuthority),
        ),
        (
            |params| params.is_ca = IsCa::NoCa,
            |fault| matches!(fault, ChainFault::NotAnAuthority),
        ),
        (
            |params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
            |fault| matches!(fault, ChainFault::MayNotSign),
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            |fault| matches!(fault, ChainFault::NotForServers),
        ),
        (
            |params| {
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
                    excluded_subtrees: Vec::new(),
                });
            },
            |fault| matches!(fault, ChainFault::Refused(reason) if reason.contains("name constraints")),
        ),
    ];
    let root = Authority::new("root");
    for (place, (spoil, is_fault)) in cases.into_iter().enumerate() {
        let pair = under(&root, spoil);
        let generation = loaded(&pair);
        let faults = faults(&generation);
        assert!(
            matches!(&faults[..], [fault] if is_fault(fault)),
            "case {place}: {faults:?}"
        );
        let site = Site::with(&pair);
        let client = client(&root, &rustls::version::TLS13, None);
        let shaken = shake(&site.handle.resolver(), &client, "localhost").await;
        // rustls does not look at key usage; OpenSSL and Go do.
        assert_eq!(
            shaken.is_err(),
            faults != [ChainFault::MayNotSign],
            "case {place}"
        );
        let state = site.state();
        assert!(
            state.degraded.as_ref().is_some_and(|why| why.contains("tls.crt")),
            "reload.md 8.3: {state:?}"
        );
        let lines = records::about(&site.root.path().display().to_string());
        let told = lines
            .iter()
            .filter(|line| line.field("event.action") == Some("tls-warning"));
        assert!(
            told.into_iter().any(|line| line.message.contains("`CN=")),
            "{lines:#?}"
        );
    }
}

#[test]
fn r20_an_issuer_of_the_same_name_with_another_key() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let other = root.intermediate("middle");
    let generation = loaded(&behind(&middle.server(), &other.pem));
    assert!(
        matches!(&faults(&generation)[..], [ChainFault::WrongSignature(issuer)] if issuer == "CN=middle"),
        "{:?}",
        generation.warnings()
    );
    // With both there it is told apart by who signed, whichever is first.
    for both in [
        format!("{}{}", other.pem, middle.pem),
        format!("{}{}", middle.pem, other.pem),
    ] {
        let generation = loaded(&behind(&middle.server(), &both));
        assert_eq!(faults(&generation), [], "{:?}", generation.warnings());
    }
}

#[test]
fn r20_a_path_length_is_counted() {
    let root = Authority::new("root");
    let first = root.intermediate_with("first", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    assert_eq!(faults(&loaded(&behind(&first.server(), &first.pem))), []);
    let second = first.intermediate("second");
    let long = behind(&second.server(), &format!("{}{}", second.pem, first.pem));
    assert_eq!(faults(&loaded(&long)), [ChainFault::PathTooLong(0)]);
}

#[test]
fn r20_a_stranger_behind_a_whole_chain_leaves_nothing_missing() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let stranger = Authority::new("stranger");
    let generation = loaded(&behind(
        &middle.server(),
        &format!("{}{}", middle.pem, stranger.pem),
    ));
    let told: Vec<_> = generation
        .warnings()
        .iter()
        .filter(|warning| !matches!(warning, Warning::WorldReadableKey { .. }))
        .collect();
    assert!(
        matches!(&told[..], [Warning::Unrelated { subject, .. }] if subject == "CN=stranger"),
        "{told:?}"
    );
}

#[test]
fn r33_r35_the_earliest_end_of_the_chain_is_in_metric_state_and_alert() {
    let root = Authority::new("root");
    let soon = OffsetDateTime::now_utc() + Duration::hours(5);
    let pair = under(&root, |params| params.not_after = soon);
    let place = directory();
    write(place.path(), &pair);
    let mut registry = Registry::default();
    let reloader = Reloader::new(settings(place.path())).metrics(ReloadMetrics::register(&mut registry));
    let site = Site::started(place, reloader);
    let state = site.state();
    let issuer = &state.generation.pairs[0].issuers[0];
    assert_eq!(state.generation.not_after(), Some(issuer.not_after));
    let labels = format!("kind=\"chain\",fingerprint=\"{}\"", issuer.fingerprint);
    let text = scrape(&registry);
    let line = text
        .lines()
        .find(|line| line.contains(&labels))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(line.ends_with(&format!(" {}", soon.unix_timestamp())), "{line}");
    assert_eq!(metric(&text, "expiry_warnings_total"), Some(1.0));
    assert!(
        state
            .degraded
            .as_ref()
            .is_some_and(|why| why.starts_with("the issuer `CN=middle` in served certificate")),
        "{state:?}"
    );
}

#[test]
fn what_a_client_says() {
    let day = Duration::days(1);
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let leaf = middle.issue(&Order::new(&["fleet.example.com", "10.0.0.7"]));
    let now = SystemTime::now();
    let trusting =
        |authority: &Authority| AsClient::trusting(std::slice::from_ref(&authority.der)).expect("a client");
    let others = [middle.der.clone()];
    let client = trusting(&root);
    for name in ["fleet.example.com", "FLEET.example.com", "10.0.0.7"] {
        assert_eq!(client.ask(&leaf.der, &others, name, now), Ok(()), "{name}");
    }
    let other_name = ClientRefusal::OtherName {
        name: "localhost".to_owned(),
        names: vec!["fleet.example.com".to_owned(), "10.0.0.7".to_owned()],
    };
    assert_eq!(client.ask(&leaf.der, &others, "localhost", now), Err(other_name));
    let bad = client.ask(&leaf.der, &others, "https://fleet", now);
    assert_eq!(bad, Err(ClientRefusal::BadName("https://fleet".to_owned())));
    let stranger = trusting(&Authority::new("stranger"));
    let unknown = |subject: &str, issuer: &str| ClientRefusal::UnknownIssuer {
        subject: subject.to_owned(),
        issuer: issuer.to_owned(),
    };
    assert_eq!(
        stranger.ask(&leaf.der, &others, "10.0.0.7", now),
        Err(unknown("CN=middle", "CN=root"))
    );
    assert_eq!(
        client.ask(&leaf.der, &[], "10.0.0.7", now),
        Err(unknown("CN=leaf", "CN=middle"))
    );
    let ended = middle.issue(&Order::new(&["a"]).valid(-day * 9, -day));
    assert!(matches!(
        client.ask(&ended.der, &others, "a", now),
        Err(ClientRefusal::Expired(_))
    ));
    let later = middle.issue(&Order::new(&["a"]).valid(day, day * 9));
    assert!(matches!(
        client.ask(&later.der, &others, "a", now),
        Err(ClientRefusal::NotYetValid(_))
    ));
    let of_client = middle.issue(&Order::new(&["a"]).client());
    let refusal = client
        .ask(&of_client.der, &others, "a", now)
        .expect_err("not for servers");
    assert!(
        !refusal.hint().is_empty() && refusal.to_string().contains("server auth"),
        "{refusal}"
    );
}
