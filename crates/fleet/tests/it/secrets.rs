//! Secrets: who gets their values, and who does not.

use fleet::{
    ActionDocId, FleetError, PageRequest, Secret, SecretId, StoreKey, Timestamp,
    actions::{self, ActionDraft, ActionKind},
    policies, secrets,
};
use serde_json::{Map, Value, json};

use crate::house::{House, answered, online, raw};

async fn secret(house: &House, id: &str, value: &str) {
    let value = Secret::from(value.to_owned());
    secrets::create(&house.fleet, Some(id), "a name", value, Timestamp::now())
        .await
        .unwrap();
}

async fn changed(house: &House, overrides: Value) -> Result<i64, FleetError> {
    let changes = Map::from_iter([("overrides".to_owned(), overrides)]);
    let revision = policies::update(&house.fleet, &house.policy, changes, Timestamp::now()).await?;
    Ok(revision.revision)
}

fn delivered_policy(answer: &Value) -> &Value {
    &answer["actions"][0]["data"]["policy"]
}

fn draft(kind: ActionKind, data: &Value) -> ActionDraft {
    ActionDraft {
        data: Some(raw(data)),
        input_type: (kind == ActionKind::InputAction).then(|| "osquery".to_owned()),
        ..ActionDraft::new(kind)
    }
}

#[actix_rt::test]
async fn d16_d17_agents_get_values_and_nobody_else_does() {
    let house = House::new().await;
    let agent = house.enroll().await.agent.id;
    secret(&house, "one", "V1").await;
    // Only listed references in inputs count; the server lists them.
    changed(
        &house,
        json!({
            "inputs": [{"password": "p-$co.elastic.secret{one}", "secrets": {"x": {"y": {"id": "one"}}}}],
            "outputs": {"default": {"secrets": {"ssl": {"key": {"id": "one"}}}}},
        }),
    )
    .await
    .unwrap();
    let answer = house.answer(&agent, online()).await;
    let policy = delivered_policy(&answer);
    assert_eq!(policy["inputs"], json!([{"password": "p-V1", "x": {"y": "V1"}}]));
    assert_eq!(policy["outputs"]["default"]["ssl"], json!({"key": "V1"}));
    assert_eq!(
        policy["secret_paths"],
        json!(["inputs.0.password", "inputs.0.x.y", "outputs.default.ssl.key"])
    );
    let stored = policies::get(&house.fleet, &house.policy).await.unwrap();
    assert!(!stored.data.as_str().contains("V1") && !stored.settings.as_str().contains("V1"));
    let data: Value = stored.data.read().unwrap();
    assert_eq!(data["secret_references"], json!([{"id": "one"}]));
    let (record, policies) = secrets::get(&house.fleet, &SecretId::from("one")).await.unwrap();
    assert_eq!(
        (record.name.as_str(), policies),
        ("a name", vec![house.policy.clone()])
    );
    assert!(!format!("{record:?}").contains("V1"));
}

#[actix_rt::test]
async fn d19_agents_that_get_a_revision_at_once_get_the_same_with_the_same_paths() {
    let house = House::new().await;
    secret(&house, "one", "V1").await;
    secret(&house, "two", "V2").await;
    let mut polls = Vec::new();
    for _ in 0..20 {
        let agent = house.enroll().await.agent.id;
        polls.push(house.poll(&agent, house.runs(1)).await);
    }
    changed(
        &house,
        json!({
            "inputs": [{"secrets": {"": {"id": "one"}, "z": {"id": "two"}}, "a": "$co.elastic.secret{one}"}],
            "outputs": {"default": {"secrets": {"ssl": {"key": {"id": "two"}}}}},
        }),
    )
    .await
    .unwrap();
    let answers = futures_util::future::join_all(polls.into_iter().map(answered)).await;
    let first = delivered_policy(&answers[0]);
    let paths = first["secret_paths"].as_array().unwrap();
    assert!(
        paths.len() > 2
            && paths
                .iter()
                .all(|path| path.as_str().is_some_and(|path| !path.is_empty())),
        "{paths:?}"
    );
    for answer in &answers {
        assert_eq!(delivered_policy(answer), first);
    }
}

#[actix_rt::test]
async fn o18_a_secret_stays_while_a_policy_refers_to_it_and_what_is_missing_is_told_before() {
    let house = House::new().await;
    let refused = changed(&house, json!({"fleet": {"token": "$co.elastic.secret{none}"}})).await;
    let reason = refused.unwrap_err().to_string();
    assert!(reason.contains("secret none does not exist"), "{reason}");
    secret(&house, "one", "V1").await;
    let one = SecretId::from("one");
    for use_of_it in [
        json!({"fleet": {"token": "$co.elastic.secret{one}"}}),
        json!({"outputs": {"default": {"secrets": {"token": {"id": "one"}}}}}),
        json!({"secret_references": [{"id": "one"}], "inputs": [{"secrets": {"a": {"id": "one"}}}]}),
    ] {
        changed(&house, use_of_it).await.unwrap();
        let error = secrets::delete(&house.fleet, &one, Timestamp::now())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("policy P"), "{error}");
    }
    changed(&house, json!({})).await.unwrap();
    secrets::delete(&house.fleet, &one, Timestamp::now())
        .await
        .unwrap();
    let gone = secrets::delete(&house.fleet, &one, Timestamp::now())
        .await
        .unwrap_err();
    assert!(matches!(gone, FleetError::UnknownSecret { .. }), "{gone}");
    for (value, name) in [("", ""), (&*"x".repeat(65_537), ""), ("x", &*"n".repeat(257))] {
        let value = Secret::from(value.to_owned());
        let refused = secrets::create(&house.fleet, None, name, value, Timestamp::now()).await;
        assert!(
            matches!(refused, Err(FleetError::InvalidSecret { .. })),
            "{refused:?}"
        );
    }
    let id = secrets::create(
        &house.fleet,
        Some("a}b"),
        "",
        Secret::from("x".to_owned()),
        Timestamp::now(),
    )
    .await;
    assert!(matches!(id, Err(FleetError::InvalidId { .. })), "{id:?}");
}

#[actix_rt::test]
async fn c15_an_action_brings_the_value_to_a_waiting_agent_and_to_one_that_comes_later() {
    let house = House::new().await;
    let (waits, later) = (house.enroll().await.agent.id, house.enroll().await.agent.id);
    secret(&house, "s", "V").await;
    let poll = house.poll(&waits, house.runs(1)).await;
    let data = json!({"query": "a $co.elastic.secret{s} b", "big": 9_007_199_254_740_993_u64, "list": ["$co.elastic.secret{s}"]});
    let draft = draft(ActionKind::InputAction, &data);
    let targets = vec![waits.clone(), later.clone()];
    let posted = actions::post(&house.fleet, targets, draft.clone(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(
        posted.data.unwrap().read::<Value>().unwrap(),
        data,
        "stored and shown as it was written"
    );
    let expected = json!({"query": "a V b", "big": 9_007_199_254_740_993_u64, "list": ["V"]});
    let live = answered(poll).await;
    let pending = house.answer(&later, house.runs(1)).await;
    for answer in [live, pending] {
        assert_eq!(answer["actions"][0]["data"], expected);
        assert!(answer["actions"][0].get("secret_references").is_none());
    }
    // One that goes another way by then fails visibly, and the others come all the same.
    actions::post(&house.fleet, vec![later.clone()], draft.clone(), Timestamp::now())
        .await
        .unwrap();
    let one = SecretId::from("s");
    let kept = secrets::delete(&house.fleet, &one, Timestamp::now())
        .await
        .unwrap_err();
    assert!(kept.to_string().contains("waits for agents"), "{kept}");
    house.store.delete_secret(&one).await.unwrap();
    let settings = crate::house::settings_action("info");
    actions::post(&house.fleet, vec![later.clone()], settings, Timestamp::now())
        .await
        .unwrap();
    let answer = house.answer(&later, house.runs(1)).await;
    let types: Vec<_> = answer["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["type"].clone())
        .collect();
    assert!(types.contains(&json!("SETTINGS")), "{answer}");
    let refused = actions::post(&house.fleet, vec![later], draft, Timestamp::now())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("secret s does not exist"),
        "{refused}"
    );
}

#[actix_rt::test]
async fn what_is_secret_in_an_action_is_stored_as_a_secret_that_goes_with_it() {
    let house = House::new().await;
    let agent = house.enroll().await.agent.id;
    for (kind, data, secret_at, shown) in [
        (
            ActionKind::PrivilegeLevelChange,
            json!({"unprivileged": true, "user_info": {"username": "u", "password": "hunter2"}}),
            "/user_info/password",
            json!({"username": "u", "password": "hunter2"}),
        ),
        (
            ActionKind::Migrate,
            json!({"target_uri": "https://x", "enrollment_token": "hunter2"}),
            "/enrollment_token",
            json!("hunter2"),
        ),
    ] {
        let posted = actions::post(
            &house.fleet,
            vec![agent.clone()],
            draft(kind, &data),
            Timestamp::now(),
        )
        .await
        .unwrap();
        let stored: Value = posted.data.unwrap().read().unwrap();
        let reference = stored.pointer(secret_at).unwrap().as_str().unwrap();
        assert!(reference.starts_with("$co.elastic.secret{"), "{reference}");
        let page = secrets::list(&house.fleet, PageRequest::first(10)).await.unwrap();
        let own: Vec<_> = page
            .items
            .iter()
            .filter(|record| record.action == Some(ActionDocId::from(posted.doc.as_str())))
            .collect();
        assert_eq!(own.len(), 1);
        let kept = secrets::delete(&house.fleet, &own[0].id, Timestamp::now())
            .await
            .unwrap_err();
        assert!(kept.to_string().contains("with which it goes"), "{kept}");
        let answer = house.answer(&agent, house.runs(1)).await;
        let actions = answer["actions"].as_array().unwrap();
        let delivered = &actions.last().unwrap()["data"];
        let parent = secret_at.rsplit_once('/').unwrap().0;
        let at = if parent.is_empty() { secret_at } else { parent };
        assert_eq!(delivered.pointer(at), Some(&shown), "{answer}");
    }
}

#[actix_rt::test]
async fn settings_of_a_migration_that_are_secret_are_stored_as_secrets() {
    let house = House::new().await;
    let agent = house.enroll().await.agent.id;
    let data = json!({
        "target_uri": "https://x", "enrollment_token": "hunter2-token",
        "settings": {
            "ca": ["shown"], "proxy_url": "shown", "insecure": true, "daemon_timeout": 9_007_199_254_740_993_u64,
            "key": "hunter2-key", "replace_token": "hunter2-replace",
            "headers": {"Authorization": "hunter2-header", "X-Empty": ""},
            "proxy_headers": {"Proxy-Authorization": "hunter2-proxy", "X-Two": ["hunter2-a", "hunter2-b"]},
        },
    });
    let draft = draft(ActionKind::Migrate, &data);
    let posted = actions::post(&house.fleet, vec![agent.clone()], draft, Timestamp::now())
        .await
        .unwrap();
    let stored = posted.data.unwrap();
    assert!(!stored.as_str().contains("hunter2"), "{}", stored.as_str());
    let stored: Value = stored.read().unwrap();
    assert_eq!(stored["settings"]["proxy_url"], "shown");
    let page = secrets::list(&house.fleet, PageRequest::first(100))
        .await
        .unwrap();
    let own = page
        .items
        .iter()
        .filter(|record| record.action == Some(ActionDocId::from(posted.doc.as_str())));
    assert_eq!(own.count(), 7);
    let answer = house.answer(&agent, house.runs(1)).await;
    let delivered = &answer["actions"].as_array().unwrap().last().unwrap()["data"];
    assert_eq!(delivered, &data, "agents get it as it was written");
}

#[actix_rt::test]
async fn o18_rotation_changes_the_key_and_no_value_and_another_key_concerns_its_policies_only() {
    let house = House::new().await;
    let agent = house.enroll().await.agent.id;
    secret(&house, "one", "V1").await;
    changed(&house, json!({"fleet": {"token": "$co.elastic.secret{one}"}}))
        .await
        .unwrap();
    let old = house.fleet.settings().store_key.clone().unwrap();
    let new = StoreKey::generate().unwrap();
    let wrong = secrets::rotate(&*house.store, &new, &old).await.unwrap_err();
    assert!(matches!(wrong, FleetError::SecretUnreadable { .. }), "{wrong}");
    assert_eq!(house.store.secret_keys().await.unwrap(), [old.id()]);
    assert_eq!(secrets::rotate(&*house.store, &old, &new).await.unwrap(), 1);
    assert_eq!(house.store.secret_keys().await.unwrap(), [new.id()]);
    // This server still has the old one: the policy is not delivered, and it says why.
    let error = house.checkin(&agent, online()).await.err().unwrap();
    let error = fleet::chain(&error);
    assert!(
        error.contains("secret one cannot be decrypted") && !error.contains("V1"),
        "{error}"
    );
    assert_eq!(secrets::rotate(&*house.store, &new, &old).await.unwrap(), 1);
    changed(
        &house,
        json!({"fleet": {"token": "again $co.elastic.secret{one}"}}),
    )
    .await
    .unwrap();
    let answer = house.answer(&agent, online()).await;
    assert_eq!(delivered_policy(&answer)["fleet"]["token"], "again V1");
    assert_eq!(secrets::discard(&*house.store).await.unwrap(), 1);
    assert!(house.store.secret_keys().await.unwrap().is_empty());
}

#[actix_rt::test]
async fn o18_a_secret_stays_while_an_action_that_refers_to_it_waits_for_an_agent() {
    let house = House::new().await;
    let agent = house.enroll().await.agent;
    secret(&house, "s", "V").await;
    let (one, now) = (SecretId::from("s"), Timestamp::now());
    let data = json!({"query": "a $co.elastic.secret{s} b"});
    let hour = std::time::Duration::from_secs(3600);
    let post = async |expiration| {
        let draft = ActionDraft {
            expiration,
            ..draft(ActionKind::InputAction, &data)
        };
        let targets = vec![agent.id.clone()];
        actions::post(&house.fleet, targets, draft, now).await.unwrap()
    };
    // One that names it in other words is no user of it.
    let other = json!({"query": "the secret s"});
    let draft = draft(ActionKind::InputAction, &other);
    actions::post(&house.fleet, vec![agent.id.clone()], draft, now)
        .await
        .unwrap();
    let answered = post(None).await;
    let expires = post(Some(now.plus(hour))).await;
    let user = async |at| match secrets::delete(&house.fleet, &one, at).await {
        Err(FleetError::SecretInUse { user, .. }) => user,
        other => panic!("{other:?}"),
    };
    assert!(user(now).await.contains(answered.action.as_str()));
    let event = fleet::acks::AckEvent {
        action_id: answered.action.to_string(),
        ..fleet::acks::AckEvent::default()
    };
    fleet::acks::apply(&house.fleet, house.agent(&agent.id).await, vec![event], now).await;
    assert!(user(now).await.contains(expires.action.as_str()));
    secrets::delete(&house.fleet, &one, now.plus(hour)).await.unwrap();
}
