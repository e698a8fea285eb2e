//! The operators' secrets: values go in and never come out.

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::house::{Answer, Face, House, checkin_request, with_key};

const SECRETS: &str = "/api/fleet/secrets";

async fn send(house: &House, face: &Face, method: Method, path: &str, body: &Value) -> Answer {
    let request = house.admin(method, path);
    match body {
        Value::Null => face.send(request).await,
        body => face.send(request.set_payload(body.to_string())).await,
    }
}

#[actix_rt::test]
async fn o18_a_secret_is_made_listed_used_and_deleted_and_never_shown() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    let draft = json!({"id": "db", "name": "database", "value": "hunter2"});
    let made = send(&house, &face, Method::POST, SECRETS, &draft).await;
    assert!(!made.text().contains("hunter2"));
    let made = made.ok();
    assert_eq!(
        (&made["item"]["id"], &made["item"]["name"]),
        (&json!("db"), &json!("database"))
    );
    let again = send(&house, &face, Method::POST, SECRETS, &draft).await;
    let message = again.assert_error(409, "Conflict");
    assert!(
        message.contains("secret db exists") && !message.contains("hunter2"),
        "{message}"
    );
    let anonymous = send(&house, &face, Method::POST, SECRETS, &json!({"value": "hunter3"}))
        .await
        .ok();
    let anonymous = anonymous["item"]["id"].as_str().unwrap().to_owned();

    let change = json!({"overrides": {"outputs": {"default": {"password": "$co.elastic.secret{db}"}}}});
    send(&house, &face, Method::PUT, "/api/fleet/agent_policies/P", &change)
        .await
        .ok();
    let policy = agents
        .send(checkin_request(&agent, &json!({"status": "online"})))
        .await
        .ok();
    assert_eq!(
        policy["actions"][0]["data"]["policy"]["outputs"]["default"]["password"],
        "hunter2"
    );
    for path in [
        SECRETS,
        "/api/fleet/secrets/db",
        "/api/fleet/agent_policies/P",
        "/api/fleet/agent_policies/P/full",
    ] {
        let answer = send(&house, &face, Method::GET, path, &Value::Null).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains("hunter"), "{path}: {}", answer.text());
    }
    let one = send(&house, &face, Method::GET, "/api/fleet/secrets/db", &Value::Null)
        .await
        .ok();
    assert_eq!(one["item"]["policies"], json!(["P"]));
    let list = send(
        &house,
        &face,
        Method::GET,
        "/api/fleet/secrets?perPage=1",
        &Value::Null,
    )
    .await
    .ok();
    assert_eq!(
        (&list["total"], list["items"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let next = list["nextSearchAfter"]
        .as_str()
        .unwrap()
        .replace('"', "%22")
        .replace('[', "%5B")
        .replace(']', "%5D");
    let path = format!("{SECRETS}?perPage=1&searchAfter={next}");
    let rest = send(&house, &face, Method::GET, &path, &Value::Null).await.ok();
    assert_ne!(rest["items"][0]["id"], list["items"][0]["id"]);

    let used = send(
        &house,
        &face,
        Method::DELETE,
        "/api/fleet/secrets/db",
        &Value::Null,
    )
    .await;
    let message = used.assert_error(409, "Conflict");
    assert!(message.contains("policy P"), "{message}");
    let path = format!("{SECRETS}/{anonymous}");
    let deleted = send(&house, &face, Method::DELETE, &path, &Value::Null)
        .await
        .ok();
    assert_eq!(deleted, json!({"action": "deleted"}));
    send(&house, &face, Method::DELETE, &path, &Value::Null)
        .await
        .assert_error(404, "Not Found");
}

#[actix_rt::test]
async fn o18_what_is_no_secret_is_refused_without_being_quoted() {
    let house = House::new().await;
    let face = house.operators().await;
    for body in [
        json!({}),
        json!({"value": 424_242}),
        json!({"value": ["hunter2"]}),
        json!({"value": ""}),
        json!({"value": "hunter2".repeat(10_000)}),
        json!({"value": "hunter2", "id": "a}b"}),
        json!({"value": "hunter2", "policy": "P"}),
    ] {
        let answer = send(&house, &face, Method::POST, SECRETS, &body).await;
        let message = answer.assert_error(400, "Bad Request");
        assert!(
            !message.contains("hunter2") && !message.contains("424242"),
            "{message}"
        );
    }
    let broken = house
        .admin(Method::POST, SECRETS)
        .set_payload(r#"{"value": "hunter2"#);
    let message = face.send(broken).await.assert_error(400, "Bad Request");
    assert!(!message.contains("hunter2"), "{message}");
    // Only operators.
    let agents = house.agents().await;
    let agent = house.enroll(&agents).await;
    for key in [&agent.key, &house.token] {
        face.send(with_key(SECRETS, key))
            .await
            .assert_error(403, "Forbidden");
    }
    assert_eq!(agents.send(with_key(SECRETS, &house.admin_key)).await.status, 404);
}

/// Whether the path names something; names may have dots themselves.
fn names(value: &Value, path: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let rest = path.strip_prefix(name.as_str());
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|rest| names(value, rest))
            })
        }),
        Value::Array(items) => {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            let item = index.parse::<usize>().ok().and_then(|index| items.get(index));
            item.is_some_and(|item| rest.is_empty() || names(item, rest))
        }
        _ => false,
    }
}

#[actix_rt::test]
async fn chk_04_ac_74_a_policys_secrets_arrive_in_their_places_with_paths_that_name_them() {
    let house = House::new().await;
    let (face, agents) = (house.operators().await, house.agents().await);
    let agent = house.enroll(&agents).await;
    for (id, value) in [("one", "V1"), ("two", "V2")] {
        let draft = json!({"id": id, "value": value});
        send(&house, &face, Method::POST, SECRETS, &draft).await.ok();
    }
    let change = json!({"overrides": {
        "inputs": [
            {"id": "plain"},
            {"password": "p-$co.elastic.secret{one}-$co.elastic.secret{two}",
             "streams": [{"secrets": {"auth": {"token": {"id": "two"}}}}]},
        ],
        "outputs": {"default": {"type": "elasticsearch", "secrets": {"ssl": {"key": {"id": "one"}}}}},
        "exporters": {"otlp/a.b": {"token": "$co.elastic.secret{one}"}},
        "fleet": {"secrets": {"ssl": {"key": {"id": "two"}}}},
        // As Kibana writes them: one that is right, one without a dot, one that names nothing.
        "secret_paths": ["inputs.1.password", "inputs", "inputs.7.password"],
    }});
    send(&house, &face, Method::PUT, "/api/fleet/agent_policies/P", &change)
        .await
        .ok();
    let answer = agents
        .send(checkin_request(&agent, &json!({"status": "online"})))
        .await
        .ok();
    let policy = &answer["actions"][0]["data"]["policy"];
    assert_eq!(
        policy["inputs"],
        json!([{"id": "plain"}, {"password": "p-V1-V2", "streams": [{"auth": {"token": "V2"}}]}])
    );
    assert_eq!(policy["outputs"]["default"]["ssl"], json!({"key": "V1"}));
    assert_eq!(policy["exporters"], json!({"otlp/a.b": {"token": "V1"}}));
    assert_eq!(policy["fleet"]["ssl"]["key"], "V2");
    let text = policy.to_string();
    assert!(
        !text.contains("\"secrets\"") && !text.contains("secret_references") && !text.contains("co.elastic"),
        "{text}"
    );
    let paths: Vec<&str> = policy["secret_paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "exporters.otlp/a.b.token",
            "fleet.ssl.key",
            "inputs.1.password",
            "inputs.1.streams.0.auth.token",
            "outputs.default.ssl.key"
        ]
    );
    for path in paths {
        assert!(path.contains('.') && names(policy, path), "{path}");
    }
}
