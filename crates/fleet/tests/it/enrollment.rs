//! Cases ENR and A: who gets in, and what becomes of an earlier record.

use fleet::{
    FleetError, Secret, Settings, StaticToken, Timestamp, auth, checkin, enrollment::EnrollRequest, policies,
    tokens,
};
use serde_json::{Value, json};

use crate::house::{House, named, online, raw, request};

fn with_id(id: &str, token: Option<&str>) -> EnrollRequest {
    EnrollRequest {
        id: Some(id.into()),
        replace_token: token.map(|token| Secret::from(token.to_owned())),
        ..request()
    }
}

#[actix_rt::test]
async fn enr_01_02_a1_a_new_agent_with_sorted_tags_and_a_key_that_works() {
    let house = House::new().await;
    let tags = ["foo", "bar", "bar", "baz", "foo"].map(String::from).to_vec();
    let enrolled = house
        .try_enroll(EnrollRequest { tags, ..request() })
        .await
        .unwrap();
    assert_eq!(enrolled.agent.tags, ["bar", "baz", "foo"]);
    assert_eq!(enrolled.agent.id.as_str().len(), 36);
    assert_eq!(enrolled.agent.policy, house.policy);
    assert_eq!(
        (enrolled.agent.action_position, enrolled.agent.last_checkin),
        (None, None)
    );
    let agent = auth::authenticate_agent(&house.fleet, &enrolled.access_key, &enrolled.agent.id)
        .await
        .unwrap();
    assert_eq!(agent.id, enrolled.agent.id);
}

#[actix_rt::test]
async fn enr_03_a3_the_final_id_is_written_over_the_sent_one() {
    let house = House::new().await;
    let local_metadata = Some(raw(
        &json!({"elastic": {"agent": {"id": "x", "version": "9.6.0"}}}),
    ));
    let agent = house
        .try_enroll(EnrollRequest {
            local_metadata,
            ..request()
        })
        .await
        .unwrap()
        .agent;
    let stored: Value = agent.local_metadata.unwrap().read().unwrap();
    assert_eq!(stored["elastic"]["agent"]["id"], agent.id.as_str());
    let local_metadata = Some(raw(&json!({"elastic": {"agent": {}}})));
    let agent = house
        .try_enroll(EnrollRequest {
            local_metadata,
            ..request()
        })
        .await
        .unwrap()
        .agent;
    assert_eq!(
        agent.local_metadata.unwrap().as_str(),
        r#"{"elastic":{"agent":{}}}"#,
        "without the key nothing is added"
    );
}

#[actix_rt::test]
async fn enr_04_a2_the_base_of_a_versioned_policy() {
    let house = House::new().await;
    let (_, token) = policies::create(&house.fleet, Some("my-policy#9.2"), named("v"), Timestamp::now())
        .await
        .unwrap();
    let agent = house.try_enroll_with(&token, request()).await.unwrap().agent;
    assert_eq!(
        (agent.policy.as_str(), agent.policy_base.as_str()),
        ("my-policy#9.2", "my-policy")
    );
}

#[actix_rt::test]
async fn enr_05_to_09_a9_to_a13_replacing_an_active_agent() {
    let house = House::new().await;
    let first = house.try_enroll(with_id("123456", Some("T"))).await.unwrap();
    assert_eq!(first.agent.id.as_str(), "123456");
    for wrong in [None, Some("U")] {
        let refused = house.try_enroll(with_id("123456", wrong)).await.unwrap_err();
        assert!(matches!(refused, FleetError::NotReplaceable { .. }), "{refused}");
    }
    let (_, other) = policies::create(&house.fleet, Some("Q"), named("Q"), Timestamp::now())
        .await
        .unwrap();
    let refused = house
        .try_enroll_with(&other, with_id("123456", Some("T")))
        .await
        .unwrap_err();
    assert!(matches!(refused, FleetError::NotReplaceable { .. }), "{refused}");
    auth::authenticate(&house.fleet, &first.access_key)
        .await
        .expect("a refused replacement leaves the old key alive");

    let second = house.try_enroll(with_id("123456", Some("T"))).await.unwrap();
    assert_eq!(second.agent.id, first.agent.id);
    assert_ne!(second.agent.access_key, first.agent.access_key);
    assert_eq!(second.agent.enrolled_at, first.agent.enrolled_at);
    assert_eq!(second.agent.policy_revision, Some(0));
    let dead = auth::authenticate(&house.fleet, &first.access_key)
        .await
        .unwrap_err();
    assert_eq!(dead, FleetError::KeyRevoked);

    house.try_enroll(with_id("plain", None)).await.unwrap();
    let refused = house.try_enroll(with_id("plain", Some("T"))).await.unwrap_err();
    assert!(
        matches!(refused, FleetError::NotReplaceable { .. }),
        "A13: {refused}"
    );
}

#[actix_rt::test]
async fn enr_10_a14_an_inactive_agent_makes_room() {
    let house = House::new().await;
    let first = house.try_enroll(with_id("123456", None)).await.unwrap();
    fleet::agents::force_unenroll(&house.fleet, &first.agent.id, Timestamp::now())
        .await
        .unwrap();
    let second = house.try_enroll(with_id("123456", None)).await.unwrap();
    assert!(second.agent.is_active);
    assert!(auth::authenticate(&house.fleet, &first.access_key).await.is_err());
}

#[actix_rt::test]
async fn enr_11_12_13_a6_a7_a8_enrolling_again_with_the_same_enrollment_id() {
    let house = House::new().await;
    let again = || EnrollRequest {
        enrollment_id: Some("e1".into()),
        ..request()
    };
    let first = house.try_enroll(again()).await.unwrap();
    let second = house.try_enroll(again()).await.unwrap();
    assert_ne!(second.agent.id, first.agent.id);
    assert!(
        house.store.agent(&first.agent.id).await.unwrap().is_none(),
        "the old record is gone"
    );
    assert_eq!(
        auth::authenticate(&house.fleet, &first.access_key)
            .await
            .unwrap_err(),
        FleetError::KeyRevoked
    );

    // Until two have met: the second may come when the first is through.
    let mut have_met = false;
    for _ in 0..50 {
        let (a, b) = tokio::join!(house.try_enroll(again()), house.try_enroll(again()));
        have_met = a.is_err() || b.is_err();
        let mut winners = Vec::new();
        for outcome in [a, b] {
            match outcome {
                Ok(enrolled) => winners.push(enrolled.agent.id),
                Err(error) => assert_eq!(error, FleetError::DuplicateEnrollment),
            }
        }
        assert!(!winners.is_empty(), "one of two wins");
        let mut living = 0;
        for id in &winners {
            living += usize::from(house.store.agent(id).await.unwrap().is_some());
        }
        assert_eq!(living, 1, "one agent has the enrollment id");
        if have_met {
            break;
        }
    }
    assert!(have_met, "no two were ever under way at once");
    let retried = house.try_enroll(again()).await.unwrap();
    assert_eq!(
        house.agent(&retried.agent.id).await.policy,
        house.policy,
        "a retry has its own agent"
    );

    let live = house
        .store
        .agent_by_enrollment_id(&"e1".into())
        .await
        .unwrap()
        .unwrap();
    drop(house.checkin(&live.id, online()).await.unwrap());
    let third = house
        .try_enroll(again())
        .await
        .expect("A8: an agent that has checked in is no error");
    assert_ne!(third.agent.id, live.id);
    assert!(
        house.store.agent(&live.id).await.unwrap().is_some(),
        "the old one is kept"
    );
}

/// The write of the check-in is pending all the time.
#[actix_rt::test]
async fn an_agent_that_has_checked_in_stays_whatever_token_repeats_its_enrolment() {
    let house = House::with(Settings {
        checkin_flush: std::time::Duration::from_secs(3600),
        ..Settings::default()
    })
    .await;
    let again = || EnrollRequest {
        enrollment_id: Some("e1".into()),
        ..request()
    };
    let (_, other) = policies::create(&house.fleet, Some("Q"), named("Q"), Timestamp::now())
        .await
        .unwrap();
    let first = house.try_enroll(again()).await.unwrap();
    drop(house.checkin(&first.agent.id, online()).await.unwrap());
    for token in [&house.token, &other] {
        let repeat = house.try_enroll_with(token, again()).await.unwrap().agent;
        assert_ne!(repeat.id, first.agent.id);
        assert_eq!(repeat.enrollment_id, None);
        auth::authenticate_agent(&house.fleet, &first.access_key, &first.agent.id)
            .await
            .expect("the first is untouched");
    }
    assert_eq!(
        house.agent(&first.agent.id).await.last_checkin,
        None,
        "it is pending"
    );
}

/// The repeat and the agent's first check-in at once, one of them a little later each time: whichever is taken first
/// counts for the other.
#[actix_rt::test]
async fn case_12_a_repeat_never_removes_an_agent_whose_first_checkin_was_taken() {
    let house = House::with(Settings {
        checkin_flush: std::time::Duration::from_secs(3600),
        ..Settings::default()
    })
    .await;
    for turn in 0..200_u32 {
        let again = || EnrollRequest {
            enrollment_id: Some(format!("e{turn}")),
            ..request()
        };
        let first = house.try_enroll(again()).await.unwrap();
        let later = async |turns: u32| {
            for _ in 0..turns {
                actix_rt::task::yield_now().await;
            }
        };
        let (repeat, checkin) = tokio::join!(
            async {
                later(if turn % 2 == 0 { turn } else { 0 }).await;
                house.try_enroll(again()).await.unwrap().agent
            },
            async {
                later(if turn % 2 == 1 { turn } else { 0 }).await;
                match house.store.agent(&first.agent.id).await.unwrap() {
                    Some(agent) => {
                        let (now, spent) = (Timestamp::now(), std::time::Duration::ZERO);
                        checkin::begin(&house.fleet, agent, "9.6.0", online(), spent, now)
                            .await
                            .map(drop)
                    }
                    None => Err(FleetError::KeyRevoked),
                }
            }
        );
        let stays = house.store.agent(&first.agent.id).await.unwrap().is_some();
        match checkin {
            Ok(()) => assert!(
                stays && repeat.enrollment_id.is_none(),
                "{turn}: {stays}, {repeat:?}"
            ),
            Err(error) => {
                assert_eq!(error, FleetError::KeyRevoked, "{turn}");
                assert!(
                    !stays && repeat.enrollment_id.is_some(),
                    "{turn}: {stays}, {repeat:?}"
                );
            }
        }
    }
}

#[actix_rt::test]
async fn parallel_right_replacements_succeed_one_after_the_other() {
    let house = House::new().await;
    let made =
        futures_util::future::join_all((0..100).map(|_| house.try_enroll(with_id("a", Some("T"))))).await;
    let made: Vec<_> = made.into_iter().map(|one| one.unwrap()).collect();
    let last = house.agent(&"a".into()).await.access_key;
    for one in &made {
        let is_last = one.access_key.id == last;
        let seen = auth::authenticate(&house.fleet, &one.access_key).await;
        assert_eq!(
            seen.is_ok(),
            is_last,
            "the key of the last one is good, and no other"
        );
    }
    let wrong = house.try_enroll(with_id("a", Some("U"))).await.unwrap_err();
    assert!(matches!(wrong, FleetError::NotReplaceable { .. }), "{wrong}");
}

#[actix_rt::test]
async fn enr_14_18_a4_a5_what_does_not_admit() {
    let house = House::new().await;
    let refused = house
        .try_enroll(EnrollRequest {
            kind: "FOO".into(),
            ..request()
        })
        .await
        .unwrap_err();
    assert_eq!(refused, FleetError::UnknownEnrollType { kind: "FOO".into() });
    let agent = house.enroll().await;
    let refused = house
        .try_enroll_with(&agent.access_key, request())
        .await
        .unwrap_err();
    assert_eq!(refused, FleetError::NotAnEnrollmentToken);
    let page = fleet::PageRequest::first(10);
    let token = tokens::list(&house.fleet, page).await.unwrap().items.remove(0);
    tokens::revoke(&house.fleet, &token.id, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        house.try_enroll(request()).await.unwrap_err(),
        FleetError::KeyRevoked
    );
    let unknown = fleet::ApiKey::generate().unwrap();
    assert_eq!(
        house.try_enroll_with(&unknown, request()).await.unwrap_err(),
        FleetError::UnknownKey
    );
    let counts = fleet::agents::counts(&house.fleet, &fleet::AgentQuery::default(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(counts.values().sum::<u64>(), 1, "none of them left an agent");
}

#[actix_rt::test]
async fn enr_19_20_a16_tokens_from_the_configuration() {
    let token = |key: &str, policy: &str| StaticToken {
        key: Secret::from(key.to_owned()),
        policy: policy.into(),
    };
    let static_tokens = vec![token("abcdefg", "P"), token("nowhere", "missing")];
    let house = House::with(Settings {
        static_tokens,
        ..Settings::default()
    })
    .await;
    let presented = |secret: &str| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("anything:{secret}"));
        fleet::ApiKey::from_token(&text).unwrap()
    };
    let agent = house
        .try_enroll_with(&presented("abcdefg"), request())
        .await
        .unwrap()
        .agent;
    assert_eq!(agent.policy, house.policy);
    house.enroll().await;
    let refused = house
        .try_enroll_with(&presented("nowhere"), request())
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        FleetError::UnknownStaticPolicy {
            policy: "missing".into()
        }
    );
    // agents.md 4.4: it opens nothing else.
    let agent_key = presented("abcdefg");
    assert_eq!(
        auth::authenticate(&house.fleet, &agent_key).await.unwrap_err(),
        FleetError::UnknownKey
    );
}

#[actix_rt::test]
async fn b1_b2_b3_b4_identity_is_told_apart() {
    let house = House::new().await;
    let (x, y) = (house.enroll().await, house.enroll().await);
    let auth = async |key, id| auth::authenticate_agent(&house.fleet, key, id).await.unwrap_err();
    assert!(matches!(
        auth(&x.access_key, &y.agent.id).await,
        FleetError::WrongIdentity { .. }
    ));
    assert!(
        matches!(
            auth(&house.token, &y.agent.id).await,
            FleetError::WrongIdentity { .. }
        ),
        "CHK-17"
    );
    let nobody = "nobody".into();
    assert!(matches!(
        auth(&x.access_key, &nobody).await,
        FleetError::UnknownAgent { .. }
    ));
    let random = fleet::ApiKey::generate().unwrap();
    assert_eq!(auth(&random, &x.agent.id).await, FleetError::UnknownKey);
    fleet::agents::force_unenroll(&house.fleet, &x.agent.id, Timestamp::now())
        .await
        .unwrap();
    assert!(matches!(
        auth(&x.access_key, &x.agent.id).await,
        FleetError::AgentInactive { .. }
    ));
}
