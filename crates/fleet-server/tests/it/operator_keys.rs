//! Operators' keys: what each role may do on every route, and the end of a key.

use serde_json::{Value, json};
use test_support::{AdminClient, Request, Response};

use crate::agents::Scene;

const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

async fn create(scene: &Scene, draft: &Value) -> Value {
    let made = scene.admin.call("POST", "/operator_keys", Some(draft)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    made.json()["item"].take()
}

fn with_key(scene: &Scene, item: &Value) -> AdminClient {
    AdminClient::new(scene.facts.client("admin_url"), item["api_key"].as_str().unwrap())
}

async fn of_role(scene: &Scene, role: &str) -> AdminClient {
    let item = create(scene, &json!({"name": format!("a {role}"), "role": role})).await;
    with_key(scene, &item)
}

fn expect_refused(response: &Response, status: u16, words: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    let error = response.json();
    assert_eq!(error["statusCode"], status, "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
}

/// The routes and the roles that they want are those of the description, which is written from the declarations that the
/// server admits by.
#[actix_rt::test]
async fn every_route_takes_the_roles_that_it_declares_and_no_lower_one() {
    let scene = Scene::start();
    let document = scene.admin.send(Request::get("/api/openapi.json")).await.json();
    let mut clients = Vec::new();
    for role in ROLES {
        clients.push((role, of_role(&scene, role).await));
    }
    let mut wanted = [0; ROLES.len()];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if !operation["tags"]
                .as_array()
                .unwrap()
                .contains(&"operators".into())
            {
                continue;
            }
            let role = operation["x-role"].as_str();
            let role = role.unwrap_or_else(|| panic!("{method} {path} has no role"));
            let least = ROLES.iter().position(|each| *each == role).unwrap();
            wanted[least] += 1;
            // Nothing has these ids, and a body without members makes nothing.
            let uri = path.replace('{', "no-such-").replace('}', "");
            for (rank, (has, client)) in clients.iter().enumerate() {
                let mut request = Request::new(&method.to_uppercase(), &uri);
                if method != "get" && method != "delete" {
                    request = request.header("Content-Type", "application/json").body(*b"{}");
                }
                let answer = client.send(request).await;
                if rank < least {
                    expect_refused(&answer, 403, &format!("this needs a key with the role {role}"));
                } else {
                    let is_let_in = answer.status != 401 && answer.status != 403;
                    assert!(is_let_in, "{method} {path} as {has}: {}", answer.text());
                }
            }
        }
    }
    assert!(wanted.iter().all(|count| *count > 0), "{wanted:?}");
}

#[actix_rt::test]
async fn a_viewer_reads_and_changes_nothing() {
    let scene = Scene::start();
    let viewer = of_role(&scene, "viewer").await;
    let policy = scene.facts.policy_id();
    assert_eq!(viewer.policy(policy).await["revision"], 1);
    let change = json!({"name": "x", "namespace": "default"});
    let refused = viewer
        .call("PUT", &format!("/agent_policies/{policy}"), Some(&change))
        .await;
    expect_refused(&refused, 403, "the role operator; the key's is viewer");
    assert_eq!(scene.admin.policy(policy).await["revision"], 1);
    let tokens = viewer.call("GET", "/enrollment_api_keys", None).await;
    assert_eq!(tokens.status, 200);
    assert!(!tokens.text().contains("\"api_key\""), "{}", tokens.text());
    let operator = of_role(&scene, "operator").await;
    operator.update_policy(policy, &change).await;
    let own = json!({"name": "more", "role": "admin"});
    let refused = operator.call("POST", "/operator_keys", Some(&own)).await;
    expect_refused(&refused, 403, "the role admin");
}

#[actix_rt::test]
async fn a_revoked_or_expired_key_is_dead_at_once_and_stays_on_record() {
    let scene = Scene::start();
    let item = create(
        &scene,
        &json!({"name": "short", "role": "viewer", "expiration": "2s"}),
    )
    .await;
    let short = with_key(&scene, &item);
    let lasting = create(&scene, &json!({"name": "lasting", "role": "admin"})).await;
    let lasting_client = with_key(&scene, &lasting);
    let path = format!("/operator_keys/{}", lasting["id"].as_str().unwrap());
    assert_eq!(lasting_client.call("GET", "/agents", None).await.status, 200);
    // A key may end itself.
    assert_eq!(lasting_client.call("DELETE", &path, None).await.status, 200);
    expect_refused(
        &lasting_client.call("GET", "/agents", None).await,
        401,
        "not enabled",
    );
    let repeat = scene.admin.call("DELETE", &path, None).await;
    assert_eq!(repeat.json(), json!({"action": "deleted"}));
    let record = scene.admin.call("GET", &path, None).await.json();
    assert_eq!(
        (&record["item"]["active"], &record["item"]["role"]),
        (&json!(false), &json!("admin"))
    );
    assert_eq!(record["item"]["api_key"], json!(null));

    test_support::eventually("the key expires", async || {
        short.call("GET", "/agents", None).await.status == 401
    })
    .await;
    expect_refused(&short.call("GET", "/agents", None).await, 401, "expired");
    // Nor does it open what any good key opens.
    let status = Request::get("/api/status").header(
        "Authorization",
        &format!("ApiKey {}", item["api_key"].as_str().unwrap()),
    );
    let status = scene.facts.client("url").request(&status).await.unwrap();
    assert_eq!(status.json()["version"], json!(null));

    let list = scene.admin.call("GET", "/operator_keys", None).await;
    assert!(!list.text().contains("api_key"), "{}", list.text());
    let list = list.json();
    let names: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].clone())
        .collect();
    assert_eq!(names, ["lasting", "short", "admin"]);
}

#[actix_rt::test]
async fn the_data_directorys_key_stays() {
    let scene = Scene::start();
    let list = scene.admin.call("GET", "/operator_keys", None).await.json();
    let path = format!("/operator_keys/{}", list["items"][0]["id"].as_str().unwrap());
    let admin = of_role(&scene, "admin").await;
    expect_refused(&admin.call("DELETE", &path, None).await, 409, "this server's own");
    assert_eq!(scene.admin.call("GET", "/operator_keys", None).await.status, 200);
    for (bad, words) in [
        (json!({"name": " ", "role": "viewer"}), "name must have"),
        (
            json!({"name": "a\u{1b}[2J", "role": "viewer"}),
            "control character",
        ),
        (json!({"name": "a", "role": "root"}), "unknown variant"),
        (
            json!({"name": "a", "role": "viewer", "expiration": "0s"}),
            "lies in the past",
        ),
        (
            json!({"name": "a", "role": "viewer", "expiration": "soon"}),
            "neither a duration",
        ),
        (json!({"role": "viewer"}), "missing field"),
    ] {
        expect_refused(
            &scene.admin.call("POST", "/operator_keys", Some(&bad)).await,
            400,
            words,
        );
    }
    let refused = scene.admin.call("DELETE", "/operator_keys/nobody", None).await;
    expect_refused(&refused, 404, "operator key nobody does not exist");
}
