//! S1–S7, S14: enrolment, keys, check-ins, the end of an agent.

use super::{Bench, samples::*};
use crate::{
    AgentId, ApiKey, AuditMark, CheckinRecord, Conflict, DetailsChange, EngineClass, EnrollmentId, KeyId,
    KeyOwner, PolicyId, Replacement, StoreError, UnhealthyReason, UpgradeChange, UpgradeEnd, Verification,
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

    // What is gone, or has checked in, is not what the caller saw; nothing of the enrolment is stored.
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
        time: "then".to_owned(),
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
    // A second one that saw the same key comes too late.
    assert!(matches!(
        store.enroll(second).await,
        Err(StoreError::Conflict(Conflict::Changed(_)))
    ));
}

/// S2: whoever looks while one agent replaces another finds one of them.
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
        assert!(found.is_some(), "between two agents there is none");
    }
    replacing.await.unwrap();
}

/// S7: whoever sees an agent inactive finds its key dead.
pub async fn transactional_s07b_an_inactive_agent_has_no_living_key(bench: &mut impl Bench) {
    let store = bench.store();
    for n in 0..20 {
        let enrolled = enrolled(&*store, &format!("a{n}")).await;
        let id = enrolled.agent.id;
        let ending = {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move { store.unenroll(&id, None, at(1)).await })
        };
        while agent(&*store, id.as_str()).await.is_active {
            tokio::task::yield_now().await;
        }
        assert!(!is_alive(&*store, &enrolled.access_key).await);
        ending.await.unwrap().unwrap();
    }
}

/// S3: on every class a revocation counts within a second of its answer.
pub async fn s03_a_revoked_key_is_dead_within_a_second(bench: &mut impl Bench) {
    let store = bench.store();
    let key = enrolled(&*store, "a").await.access_key;
    store
        .invalidate_keys(std::slice::from_ref(&key.id), at(1))
        .await
        .unwrap();
    let answered = std::time::Instant::now();
    while is_alive(&*store, &key).await {
        assert!(answered.elapsed() < std::time::Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

/// S3: here at once, also over a restart.
pub async fn transactional_s03b_a_revoked_key_is_dead_at_once(bench: &mut impl Bench) {
    let store = bench.store();
    let agents = enrolled(&*store, "a").await.access_key;
    let operators = store
        .issue(KeyOwner::Operator, purpose("operator"), at(0))
        .await
        .unwrap();
    assert!(is_alive(&*store, &operators).await);
    let ids = [operators.id.clone(), KeyId::from("unknown"), agents.id.clone()];
    store.invalidate_keys(&ids, at(1)).await.unwrap();
    assert!(!is_alive(&*store, &operators).await);
    assert!(!is_alive(&*store, &agents).await);
    store.invalidate_keys(&ids, at(2)).await.unwrap();
    bench.restart().await;
    assert_eq!(
        bench.store().verify(&operators).await.unwrap(),
        Verification::Revoked(KeyOwner::Operator),
        "a dead key stays on record"
    );
}

/// O3: only the whole key is known, and what is wrong with another is not told.
pub async fn o03_only_the_issued_secret_is_verified(bench: &mut impl Bench) {
    let store = bench.store();
    let key = store
        .issue(KeyOwner::Operator, purpose("one"), at(0))
        .await
        .unwrap();
    let other = store
        .issue(KeyOwner::Operator, purpose("two"), at(0))
        .await
        .unwrap();
    assert!(key.id != other.id && key.secret() != other.secret());
    bench.restart().await;
    let store = bench.store();
    for good in [&key, &other] {
        assert_eq!(
            store.verify(good).await.unwrap(),
            Verification::Active(KeyOwner::Operator)
        );
    }
    let of = |id: &KeyId, secret: &ApiKey| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        ApiKey::from_token(&STANDARD.encode(format!("{id}:{}", secret.secret().reveal()))).unwrap()
    };
    for wrong in [
        of(&key.id, &other),
        of(&KeyId::from("unknown"), &key),
        given(key.id.as_str()),
    ] {
        assert_eq!(store.verify(&wrong).await.unwrap(), Verification::Unknown);
    }
}

/// O16, O17: keys whose secret comes from outside are adopted once, or refused by name.
pub async fn o17_given_keys_are_adopted_once_or_refused_by_name(bench: &mut impl Bench) {
    let store = bench.store();
    policy(&*store, "p").await;
    let (key, preset) = (given("operator's"), given("preset"));
    let adopted = store
        .adopt_key(&key, KeyOwner::Operator, purpose("o"), at(0))
        .await;
    let token = store.adopt_token(token("t", "p"), &preset).await;
    if store.class() == EngineClass::Document
        && let (Err(one), Err(other)) = (&adopted, &token)
    {
        for refused in [one, other] {
            assert!(matches!(refused, StoreError::Unsupported { .. }), "{refused}");
        }
        return;
    }
    adopted.unwrap();
    let token = token.unwrap();
    assert_eq!(token.key, preset.id);
    for (key, owner) in [
        (&key, KeyOwner::Operator),
        (&preset, KeyOwner::Token(token.id.clone())),
    ] {
        assert_eq!(store.verify(key).await.unwrap(), Verification::Active(owner));
        let taken = store
            .adopt_key(key, KeyOwner::Operator, purpose("o"), at(1))
            .await;
        assert!(
            matches!(taken, Err(StoreError::Conflict(Conflict::IdTaken(_)))),
            "{taken:?}"
        );
    }
    let taken = store.adopt_token(super::samples::token("t2", "p"), &key).await;
    assert_eq!(taken.unwrap_err(), Conflict::TokenExists("t2".into()).into());
}

/// S4: the newest time stays, whatever the order; `None` leaves what is stored.
pub async fn s04_the_newest_checkin_stays(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let newest = CheckinRecord {
        status: Some("degraded".to_owned()),
        message: Some("disk".to_owned()),
        version: Some("9.6.1".to_owned()),
        local_metadata: Some(json(r#"{"host":{"hostname":"Late"}}"#)),
        components: Some(json("[{\"id\": 1}]")),
        unhealthy_reason: Some(vec![UnhealthyReason::Input, UnhealthyReason::Other]),
        rollbacks: Some(json("[]")),
        ..checkin("a", at(30))
    };
    let older = CheckinRecord {
        version: Some("0".to_owned()),
        local_metadata: Some(json("{}")),
        unhealthy_reason: Some(Vec::new()),
        message: Some("old".to_owned()),
        ..checkin("a", at(20))
    };
    let unknown = checkin("nobody", at(30));
    store
        .record_checkins(vec![unknown, newest.clone(), older.clone()])
        .await
        .unwrap();
    store.record_checkins(vec![older]).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(stored.last_checkin, Some(at(30)));
    assert_eq!(stored.last_checkin_status, newest.status);
    assert_eq!(stored.last_checkin_message, newest.message);
    assert_eq!(stored.version, "9.6.1");
    assert_eq!(stored.local_metadata, newest.local_metadata);
    assert_eq!(stored.components, newest.components);
    assert_eq!(Some(stored.unhealthy_reason), newest.unhealthy_reason);
    assert_eq!(stored.rollbacks, newest.rollbacks);

    let quiet = CheckinRecord {
        status: None,
        ..checkin("a", at(40))
    };
    store.record_checkins(vec![quiet]).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(stored.last_checkin, Some(at(40)));
    assert_eq!(stored.last_checkin_status.as_deref(), Some("degraded"));
    assert_eq!(stored.components, newest.components);
    let healthy = CheckinRecord {
        unhealthy_reason: Some(Vec::new()),
        ..checkin("a", at(41))
    };
    store.record_checkins(vec![healthy]).await.unwrap();
    assert_eq!(agent(&*store, "a").await.unhealthy_reason, []);

    // A check-in removes the audit mark only when it says so.
    let mark = AuditMark {
        reason: "orphaned".to_owned(),
        time: "then".to_owned(),
    };
    store.mark_audit(&AgentId::from("a"), mark, at(42)).await.unwrap();
    store.record_checkins(vec![checkin("a", at(43))]).await.unwrap();
    assert!(agent(&*store, "a").await.audit.is_some());
    let clearing = CheckinRecord {
        clears_audit: true,
        ..checkin("a", at(44))
    };
    store.record_checkins(vec![clearing.clone()]).await.unwrap();
    assert_eq!(agent(&*store, "a").await.audit, None);

    // A record that waited while its agent was unenrolled does not take the date away.
    store
        .unenroll(&AgentId::from("a"), Some("manual"), at(45))
        .await
        .unwrap();
    store
        .record_checkins(vec![CheckinRecord {
            at: at(46),
            ..clearing
        }])
        .await
        .unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!((stored.is_active, stored.unenrolled_at), (false, Some(at(45))));
}

/// S5, M5: a position only grows, a late record may still bring one, and of several the furthest counts.
pub async fn s05_a_position_never_goes_back(bench: &mut impl Bench) {
    let store = bench.store();
    let id = enrolled(&*store, "a").await.agent.id;
    let mut positions = vec![];
    for n in 0..10 {
        let doc = format!("d{n}");
        store.append_actions(vec![action(&doc, &["a"])]).await.unwrap();
        let pending = store
            .pending_actions(&id, Some(&doc.into()), None, at(1), 10)
            .await
            .unwrap();
        positions.push(pending.position.unwrap());
    }
    for (time, confirmed, expected) in [
        (10, &[][..], None),
        (11, &[7], Some(7)),
        (12, &[3], Some(7)),
        (13, &[], Some(7)),
        (5, &[2, 8, 4], Some(8)),
        (4, &[1], Some(8)),
        (14, &[9, 0], Some(9)),
    ] {
        let record = CheckinRecord {
            positions: confirmed.iter().map(|n| positions[*n].clone()).collect(),
            ..checkin("a", at(time))
        };
        store.record_checkins(vec![record]).await.unwrap();
        assert_eq!(
            agent(&*store, "a").await.action_position,
            expected.map(|n: usize| positions[n].clone()),
            "after {confirmed:?} at {time}"
        );
    }
    assert_eq!(agent(&*store, "a").await.last_checkin, Some(at(14)));
}

/// O10, M4, M5: of token and stored position the further one counts, whichever it is; an unknown token names nothing.
pub async fn o10_the_further_of_token_and_position_counts(bench: &mut impl Bench) {
    let store = bench.store();
    let id = enrolled(&*store, "a").await.agent.id;
    let actions = ["d0", "d1", "d2", "d3"].map(|doc| action(doc, &["a"])).to_vec();
    store.append_actions(actions).await.unwrap();
    let mut places = Vec::new();
    for doc in ["d0", "d1", "d2", "d3"] {
        let pending = store
            .pending_actions(&id, Some(&doc.into()), None, at(1), 10)
            .await
            .unwrap();
        places.push(pending.position);
    }
    assert!(places.iter().all(Option::is_some));
    for (token, stored, expected) in [
        (None, None, None),
        (None, Some(1), Some(1)),
        (Some("d1"), None, Some(1)),
        (Some("d0"), Some(2), Some(2)),
        (Some("d2"), Some(0), Some(2)),
        (Some("d3"), Some(3), Some(3)),
        (Some("unknown"), Some(1), Some(1)),
        (Some("unknown"), None, None),
    ] {
        let stored = stored.and_then(|n: usize| places[n].clone());
        let token = token.map(Into::into);
        let pending = store
            .pending_actions(&id, token.as_ref(), stored.as_ref(), at(1), 10)
            .await
            .unwrap();
        let waits = &["d0", "d1", "d2", "d3"][expected.map_or(0, |n: usize| n + 1)..];
        assert_eq!(docs(&pending), waits, "{token:?} {stored:?}");
        assert_eq!(pending.position, expected.and_then(|n| places[n].clone()));
    }
}

/// S6, M8.
pub async fn s06_confirming_after_reassignment_is_refused(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    assert!(confirm(&*store, "a", 2).await);
    assert!(!confirm(&*store, "a", 2).await, "does not grow");
    assert!(!confirm(&*store, "a", 1).await, "goes back");
    assert_eq!(agent(&*store, "a").await.policy_revision, Some(2));
    let id = AgentId::from("a");
    let nowhere = store
        .reassign(std::slice::from_ref(&id), &PolicyId::from("q#9.2"), at(3))
        .await;
    assert!(matches!(
        nowhere,
        Err(StoreError::NotFound { what: "policy", .. })
    ));
    assert_eq!(agent(&*store, "a").await.policy_revision, Some(2));
    policy(&*store, "q#9.2").await;
    let moved = store
        .reassign(
            &[id.clone(), AgentId::from("nobody")],
            &PolicyId::from("q#9.2"),
            at(3),
        )
        .await;
    assert_eq!(moved.unwrap(), 1);
    let moved = agent(&*store, "a").await;
    assert_eq!(
        (moved.policy.as_str(), moved.policy_base.as_str()),
        ("q#9.2", "q")
    );
    assert_eq!(moved.policy_revision, None);
    assert!(!confirm(&*store, "a", 3).await);
    assert_eq!(agent(&*store, "a").await.policy_revision, None);
    let unknown = store
        .confirm_policy(&AgentId::from("nobody"), &PolicyId::from("p"), 1, at(4))
        .await;
    assert_eq!(
        unknown.unwrap_err(),
        StoreError::NotFound {
            what: "agent",
            id: "nobody".to_owned()
        }
    );
}

/// O5, M8: the reported pair.
pub async fn s06b_a_reported_pair_is_stored_only_while_assigned(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let (id, p, q) = (AgentId::from("a"), PolicyId::from("p"), PolicyId::from("q"));
    store.report_policy(&id, &p, 5, at(1)).await.unwrap();
    store.report_policy(&id, &p, 4, at(2)).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.policy_revision, stored.reported_policy),
        (Some(4), Some(p))
    );
    store.report_policy(&id, &q, 9, at(3)).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.policy_revision, stored.reported_policy),
        (Some(4), Some(q.clone()))
    );
    let unknown = store.report_policy(&AgentId::from("nobody"), &q, 9, at(3)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { what: "agent", .. })));
}

/// S7.
pub async fn s07_unenrolling_kills_all_keys_of_that_agent_only(bench: &mut impl Bench) {
    let store = bench.store();
    let first = enrolled(&*store, "a").await.access_key;
    let other = enrolled(&*store, "b").await.access_key;
    let id = AgentId::from("a");
    let second = store
        .issue(KeyOwner::Agent(id.clone()), purpose("second"), at(0))
        .await
        .unwrap();
    // A token or an operator's key that happens to carry the agent's id is none of its keys.
    policy(&*store, "p").await;
    let (_, token) = admitting(&*store, "a", "p").await;
    store.unenroll(&id, Some("manual"), at(9)).await.unwrap();
    let gone = agent(&*store, "a").await;
    assert_eq!((gone.is_active, gone.unenrolled_at), (false, Some(at(9))));
    assert_eq!(gone.unenrolled_reason.as_deref(), Some("manual"));
    for (key, alive) in [(&first, false), (&second, false), (&other, true), (&token, true)] {
        assert_eq!(is_alive(&*store, key).await, alive, "{key:?}");
    }
    store.unenroll(&id, Some("again"), at(10)).await.unwrap();
    assert_eq!(
        agent(&*store, "a").await.unenrolled_reason.as_deref(),
        Some("manual")
    );
    assert!(agent(&*store, "b").await.is_active);
    policy(&*store, "q").await;
    assert_eq!(
        store.reassign(&[id], &PolicyId::from("q"), at(11)).await.unwrap(),
        0
    );
    let unknown = store.unenroll(&AgentId::from("nobody"), None, at(9)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { what: "agent", .. })));
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

/// O6.
pub async fn o06_upgrade_fields_change_together(bench: &mut impl Bench) {
    let store = bench.store();
    enrolled(&*store, "a").await;
    let id = AgentId::from("a");
    let mut upgrade = action("d", &["a"]);
    upgrade.mark = Some(crate::AgentMark::UpgradeStarted);
    upgrade.at = at(2);
    store.append_actions(vec![upgrade]).await.unwrap();
    let details = json(r#"{"state":"UPG_DOWNLOADING","metadata":{"download_percent":1e1}}"#);
    let progress = UpgradeChange {
        details: DetailsChange::Set(details.clone()),
        end: None,
        ends_attempts: true,
    };
    store.change_upgrade(&id, progress, at(3)).await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.upgrade_details, stored.upgrade_started_at),
        (Some(details), Some(at(2)))
    );
    store
        .change_upgrade(
            &id,
            UpgradeChange {
                end: Some(UpgradeEnd::Missed),
                ..UpgradeChange::default()
            },
            at(4),
        )
        .await
        .unwrap();
    let stored = agent(&*store, "a").await;
    assert!(stored.upgrade_details.is_some());
    assert_eq!((stored.upgrade_started_at, stored.upgraded_at), (None, None));
    store
        .change_upgrade(
            &id,
            UpgradeChange {
                details: DetailsChange::Cleared,
                end: Some(UpgradeEnd::Reached),
                ends_attempts: false,
            },
            at(5),
        )
        .await
        .unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.upgrade_details, stored.upgraded_at, stored.updated_at),
        (None, Some(at(5)), at(5))
    );
    // A success that was rolled back is none.
    let missed = UpgradeChange {
        end: Some(UpgradeEnd::Missed),
        ..UpgradeChange::default()
    };
    store.change_upgrade(&id, missed.clone(), at(6)).await.unwrap();
    assert_eq!(agent(&*store, "a").await.upgraded_at, None);
    let unknown = missed;
    let unknown = store
        .change_upgrade(&AgentId::from("nobody"), unknown, at(6))
        .await;
    assert!(matches!(unknown, Err(StoreError::NotFound { what: "agent", .. })));
}
