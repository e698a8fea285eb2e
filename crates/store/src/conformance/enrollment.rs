//! S1, S2, S14: enrolment, replacement of an agent, and the tokens that admit one.

use super::{Bench, samples::*};
use crate::{
    AgentId, AuditMark, Conflict, EnrollmentId, KeyId, KeyOwner, Replacement, StoreError, Verification,
};

/// O2, O3: what was enrolled is found at once by id, key and enrollment id; what was not is `None`.
pub async fn o_basics_agents_are_found_by_all_their_names(bench: &mut impl Bench) {
    let store = bench.store();
    let mut enrollment = enrollment_with_id("a1", "e1");
    enrollment.agent.tags = vec!["linux".to_owned(), "web".to_owned()];
    enrollment.agent.local_metadata = Some(json(r#"{"host":{"hostname":"box"}}"#));
    enrollment.agent.replace_token = Some("$pbkdf2$".to_owned());
    let enrolled = store.enroll(enrollment.clone()).await.unwrap();
    let agent = enrolled.agent;
    assert!(agent.is_active);
    assert_eq!(agent.tags, ["linux", "web"]);
    assert_eq!(agent.access_key, enrolled.access_key.id);
    assert_eq!(
        (agent.policy_revision, agent.last_checkin, &agent.action_position),
        (None, None, &None)
    );
    assert_eq!((agent.enrolled_at, agent.updated_at), (at(0), at(0)));

    assert_eq!(store.agent(&agent.id).await.unwrap().as_ref(), Some(&agent));
    assert_eq!(
        store.agent_by_key(&agent.access_key).await.unwrap().as_ref(),
        Some(&agent)
    );
    assert_eq!(
        store
            .agent_by_enrollment_id(&EnrollmentId::from("e1"))
            .await
            .unwrap()
            .as_ref(),
        Some(&agent)
    );
    assert_eq!(store.agent(&AgentId::from("none")).await.unwrap(), None);
    assert_eq!(store.agent_by_key(&KeyId::from("none")).await.unwrap(), None);
    let owner = KeyOwner::Agent(agent.id.clone());
    assert_eq!(
        store.verify(&enrolled.access_key).await.unwrap(),
        Verification::Active(owner)
    );

    let again = store.enroll(enrollment).await.unwrap_err();
    assert_eq!(again, Conflict::AgentExists(agent.id.clone()).into());
    bench.restart().await;
    assert_eq!(bench.store().agent(&agent.id).await.unwrap(), Some(agent));
}

/// S1: of parallel enrolments with one enrollment id, one wins and nothing of the others stays.
pub async fn s01_one_enrollment_id_admits_one_agent(bench: &mut impl Bench) {
    let store = bench.store();
    let tries = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.enroll(enrollment_with_id(&format!("a{n}"), "same")).await })
    });
    let mut outcomes = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        outcomes.push(one.await.unwrap());
    }
    let winners: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok())
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    for (n, outcome) in outcomes.iter().enumerate() {
        let id = AgentId::from(format!("a{n}"));
        assert_eq!(store.agent(&id).await.unwrap().is_some(), outcome.is_ok());
        match outcome {
            Ok(enrolled) => assert!(is_alive(&*store, &enrolled.access_key).await),
            Err(error) => assert_eq!(
                *error,
                Conflict::EnrollmentIdTaken(EnrollmentId::from("same")).into()
            ),
        }
    }
    let found = store
        .agent_by_enrollment_id(&EnrollmentId::from("same"))
        .await
        .unwrap();
    assert_eq!(found.as_ref(), Some(&winners[0].agent));
}

/// S2: an agent that never checked in is removed with its key and queue; one that did is not.
pub async fn s02_replacing_kills_the_old_key_in_the_same_unit(bench: &mut impl Bench) {
    let store = bench.store();
    let old = store.enroll(enrollment_with_id("old", "e")).await.unwrap();
    store.append_actions(vec![action("d1", &["old"])]).await.unwrap();
    let mut replacing = enrollment_with_id("new", "e");
    replacing.replaces = Replacement::Remove(AgentId::from("old"));
    let new = store.enroll(replacing).await.unwrap();
    assert_eq!(store.agent(&AgentId::from("old")).await.unwrap(), None);
    assert!(!is_alive(&*store, &old.access_key).await);
    assert!(is_alive(&*store, &new.access_key).await);
    assert_eq!(
        store
            .pending_actions(&AgentId::from("old"), None, None, at(1), 10)
            .await
            .unwrap()
            .actions,
        []
    );

    // An agent that is gone or has checked in is not what the caller saw; nothing of the enrolment is stored.
    let mut gone = enrollment("third", "p");
    gone.replaces = Replacement::Remove(AgentId::from("old"));
    assert!(matches!(
        store.enroll(gone.clone()).await,
        Err(StoreError::Conflict(Conflict::Changed(_)))
    ));
    store.record_checkins(vec![checkin("new", at(5))]).await.unwrap();
    gone.replaces = Replacement::Remove(AgentId::from("new"));
    assert!(matches!(
        store.enroll(gone.clone()).await,
        Err(StoreError::Conflict(Conflict::Changed(_)))
    ));
    assert_eq!(store.agent(&AgentId::from("third")).await.unwrap(), None);
    assert!(is_alive(&*store, &new.access_key).await);

    // An inactive one may go, also for an agent of the same id.
    store.unenroll(&AgentId::from("new"), None, at(6)).await.unwrap();
    let mut same = enrollment("new", "p");
    same.replaces = Replacement::Remove(AgentId::from("new"));
    let agent = store.enroll(same).await.unwrap().agent;
    assert!(agent.is_active);
    assert_eq!((agent.last_checkin, agent.unenrolled_at), (None, None));
}

/// S2b, data.md 4.2.
pub async fn s02b_what_taking_over_keeps(bench: &mut impl Bench) {
    let store = bench.store();
    let mut first = enrollment_with_id("a", "e");
    first.agent.replace_token = Some("hash".to_owned());
    first.agent.kind = "EPHEMERAL".to_owned();
    let first = store.enroll(first).await.unwrap();
    store.append_actions(vec![action("d", &["a"])]).await.unwrap();
    acknowledge(&*store, "a", "d", at(10)).await;
    let position = agent(&*store, "a").await.action_position;
    assert!(position.is_some());
    confirm(&*store, "a", 3).await;
    let mark = AuditMark {
        reason: "uninstall".to_owned(),
        time: "2026-01-01T00:00:00.5+01:00".to_owned(),
    };
    store
        .mark_audit(&AgentId::from("a"), mark.clone(), at(11))
        .await
        .unwrap();
    assert_eq!(agent(&*store, "a").await.audit, Some(mark));

    let mut second = enrollment("a", "p");
    second.agent.at = at(20);
    second.agent.version = "9.7.0".to_owned();
    second.agent.tags = vec!["new".to_owned()];
    second.replaces = Replacement::TakeOver {
        agent: AgentId::from("a"),
        access_key: KeyId::from("not the key"),
    };
    assert!(matches!(
        store.enroll(second.clone()).await,
        Err(StoreError::Conflict(Conflict::Changed(_)))
    ));
    assert!(is_alive(&*store, &first.access_key).await);

    second.replaces = Replacement::TakeOver {
        agent: AgentId::from("a"),
        access_key: first.access_key.id.clone(),
    };
    let taking = store.enroll(second.clone()).await.unwrap();
    assert!(!is_alive(&*store, &first.access_key).await);
    assert!(is_alive(&*store, &taking.access_key).await);
    let taken = taking.agent;
    assert_eq!(taken.access_key, taking.access_key.id);
    assert_eq!((taken.enrolled_at, taken.updated_at), (at(0), at(20)));
    assert_eq!(
        (taken.kind.as_str(), taken.action_position),
        ("EPHEMERAL", position)
    );
    assert_eq!(taken.replace_token.as_deref(), Some("hash"));
    assert_eq!(taken.enrollment_id, Some(EnrollmentId::from("e")));
    assert_eq!((taken.policy_revision, taken.audit), (Some(0), None));
    assert_eq!(
        (taken.version.as_str(), taken.tags),
        ("9.7.0", vec!["new".to_owned()])
    );
    // A second enrolment that saw the same key is refused.
    assert!(matches!(
        store.enroll(second).await,
        Err(StoreError::Conflict(Conflict::Changed(_)))
    ));
}

/// S2: a reader finds one of the two agents at every moment of a replacement.
pub async fn transactional_s02c_nobody_sees_half_a_replacement(bench: &mut impl Bench) {
    let store = bench.store();
    store.enroll(enrollment_with_id("a0", "e")).await.unwrap();
    let replacing = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..30 {
                let mut next = enrollment_with_id(&format!("a{n}"), "e");
                next.replaces = Replacement::Remove(AgentId::from(format!("a{}", n - 1)));
                store.enroll(next).await.unwrap();
            }
        })
    };
    let id = EnrollmentId::from("e");
    while !replacing.is_finished() {
        let found = store.agent_by_enrollment_id(&id).await.unwrap();
        assert!(found.is_some(), "neither agent is there");
    }
    replacing.await.unwrap();
}

/// S14: revoked, expired, unknown or with a dead key: the token admits nobody, also in the race.
pub async fn s14_a_token_revoked_while_enrolling_admits_nobody(bench: &mut impl Bench) {
    let store = bench.store();
    policy(&*store, "p").await;
    let (stored, _) = admitting(&*store, "t", "p").await;
    let mut tries = Vec::new();
    for n in 0..20 {
        let (store, token) = (store.clone(), stored.clone());
        tries.push(tokio::spawn(async move {
            if n == 10 {
                store.revoke_token(&token.id, at(1)).await.unwrap();
                return None;
            }
            let mut enrollment = enrollment(&format!("a{n}"), "p");
            enrollment.admitted_by = Some(token.key);
            Some((n, store.enroll(enrollment).await))
        }));
    }
    for one in tries {
        let Some((n, outcome)) = one.await.unwrap() else {
            continue;
        };
        match outcome {
            Ok(enrolled) => assert!(is_alive(&*store, &enrolled.access_key).await),
            Err(error) => {
                assert_eq!(error, Conflict::TokenRevoked.into());
                let id = AgentId::from(format!("a{n}"));
                assert_eq!(store.agent(&id).await.unwrap(), None);
            }
        }
    }
    let mut late = enrollment("late", "p");
    late.admitted_by = Some(stored.key.clone());
    assert_eq!(
        store.enroll(late.clone()).await.unwrap_err(),
        Conflict::TokenRevoked.into()
    );
    late.admitted_by = Some(KeyId::from("unknown"));
    assert_eq!(
        store.enroll(late.clone()).await.unwrap_err(),
        Conflict::TokenRevoked.into()
    );

    let mut ending = token("ending", "p");
    ending.expires_at = Some(at(100));
    let (ending, _) = store.create_token(ending).await.unwrap();
    late.admitted_by = Some(ending.key);
    late.agent.at = at(100);
    assert_eq!(
        store.enroll(late.clone()).await.unwrap_err(),
        Conflict::TokenRevoked.into()
    );
    late.agent.at = at(99);
    store.enroll(late).await.unwrap();
}
