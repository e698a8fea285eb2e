//! Operators and the files of agents: asked for, listed, downloaded, removed (data.md 9.4).

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::{
    house::{Enrolled, Face, House, checkin_request},
    uploads::{begin, begun, complete, put, said, transit, unpaced},
};

async fn get(house: &House, face: &Face, path: &str) -> Value {
    face.send(house.admin(Method::GET, path)).await.ok()
}

async fn sent(face: &Face, agent: &Enrolled, action: &str, name: &str, bytes: &[u8]) {
    let mut body = said(agent, action, i64::try_from(bytes.len()).unwrap());
    body["file"]["name"] = json!(name);
    body["file"]["mime_type"] = json!("text/html");
    let upload = begin(face, agent, &body).await.ok()["upload_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(put(face, agent, &upload, 0, bytes).await.status, 200);
    complete(face, &agent.key, &upload, transit(bytes)).await.ok();
}

/// Agents that speak OpAMP take no actions: they are left out of a kuery, and refused by name (OPA-20).
#[actix_rt::test]
async fn c14_opa_20_diagnostics_are_asked_of_many_at_once() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agents = [house.enroll(&face).await, house.enroll(&face).await];
    let collector = crate::opamp::enrolled(&house, &face).await;
    let asked = async |body: Value| {
        let path = "/api/fleet/agents/bulk_request_diagnostics";
        let request = house.admin(Method::POST, path).set_payload(body.to_string());
        operators.send(request).await
    };
    let ids = [agents[0].id.as_str(), agents[1].id.as_str()];
    let by_id = asked(json!({"agents": ids})).await.ok();
    let by_kuery = asked(json!({"agents": "fleet-agents.policy_id:P", "additional_metrics": ["CPU"]}))
        .await
        .ok();
    for agent in &agents {
        let checkin = face
            .send(checkin_request(agent, &json!({"status": "online"})))
            .await
            .ok();
        let ids: Vec<_> = checkin["actions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|action| action["id"].clone())
            .collect();
        assert_eq!(
            ids[..2],
            [by_id["actionId"].clone(), by_kuery["actionId"].clone()]
        );
    }
    for action in [by_id, by_kuery] {
        let path = format!(
            "/api/fleet/agents/actions/{}",
            action["actionId"].as_str().unwrap()
        );
        let progress = get(&house, &operators, &path).await;
        assert_eq!(progress["item"]["nbAgentsActioned"], 2);
    }
    for (body, status) in [
        (json!({"agents": [ids[0], "nobody"]}), 404),
        (json!({"agents": [ids[0], collector]}), 400),
        (json!({"agents": []}), 400),
        (json!({"agents": "fleet-agents.policy_id:none"}), 400),
        (json!({"agents": "(("}), 400),
        (json!({"agents": ids, "additional_metrics": ["GPU"]}), 400),
        (json!({}), 400),
    ] {
        assert_eq!(asked(body.clone()).await.status, status, "{body}");
    }
    // One by one it is refused too, with the reason.
    let action = json!({"action": {"type": "SETTINGS", "data": {"log_level": "debug"}}});
    let path = format!("/api/fleet/agents/{collector}/actions");
    let request = house.admin(Method::POST, &path).set_payload(action.to_string());
    let said = operators.send(request).await.assert_error(400, "Bad Request");
    assert!(said.contains("speaks OpAMP"), "{said}");
}

#[actix_rt::test]
async fn c14_diagnostics_are_asked_for_sent_and_downloaded() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    let path = format!("/api/fleet/agents/{}/request_diagnostics", agent.id);
    let asked = house.admin(Method::POST, &path);
    let plain = operators.send(asked).await.ok();
    let asked = house
        .admin(Method::POST, &path)
        .set_payload(json!({"additional_metrics": ["CPU"]}).to_string());
    let with_cpu = operators.send(asked).await.ok();
    for wrong in [json!({"additional_metrics": ["GPU"]}), json!({"additional": 1})] {
        let asked = house.admin(Method::POST, &path).set_payload(wrong.to_string());
        operators.send(asked).await.assert_error(400, "Bad Request");
    }
    let checkin = face
        .send(checkin_request(&agent, &json!({"status": "online"})))
        .await
        .ok();
    let actions = checkin["actions"].as_array().unwrap();
    let of_kind: Vec<_> = actions
        .iter()
        .filter(|action| action["type"] == "REQUEST_DIAGNOSTICS")
        .collect();
    assert_eq!(of_kind[0]["id"], plain["actionId"]);
    assert_eq!(of_kind[0]["data"], Value::Null);
    assert_eq!(of_kind[1]["id"], with_cpu["actionId"]);
    assert_eq!(of_kind[1]["data"], json!({"additional_metrics": ["CPU"]}));
    assert!(!of_kind[1]["expiration"].as_str().unwrap().is_empty());

    let action = with_cpu["actionId"].as_str().unwrap();
    sent(&face, &agent, action, "../ä \"x\".zip", b"<script>").await;
    let list = get(
        &house,
        &operators,
        &format!("/api/fleet/agents/{}/uploads", agent.id),
    )
    .await;
    let item = &list["items"][0];
    let id = format!("{action}.{}", agent.id);
    assert_eq!((&list["total"], &item["id"]), (&json!(1), &json!(id)));
    assert_eq!(
        (&item["status"], &item["actionId"], &item["size"], &item["name"]),
        (
            &json!("READY"),
            &json!(action),
            &json!(8),
            &json!("../ä \"x\".zip")
        )
    );
    assert!(item["createTime"].as_str().unwrap().ends_with('Z'));
    // The listed path leads to the bytes, and so does any name behind the id.
    for path in [
        item["filePath"].as_str().unwrap(),
        &format!("/api/fleet/agents/files/{id}/x"),
    ] {
        let download = operators.send(house.admin(Method::GET, path)).await;
        assert_eq!(
            (download.status.as_u16(), download.body.as_slice()),
            (200, b"<script>".as_slice())
        );
        assert_eq!(download.header("content-type"), "application/octet-stream");
        assert_eq!(download.header("x-content-type-options"), "nosniff");
        assert_eq!(
            download.header("content-disposition"),
            "attachment; filename=\"_ _x_.zip\"; filename*=UTF-8''%C3%A4%20_x_.zip"
        );
    }
    let path = format!("/api/fleet/agents/files/{id}");
    let removed = operators.send(house.admin(Method::DELETE, &path)).await.ok();
    assert_eq!(removed, json!({"id": id, "deleted": true}));
    operators
        .send(house.admin(Method::DELETE, &path))
        .await
        .assert_error(404, "Not Found");
    operators
        .send(house.admin(Method::GET, &format!("{path}/x")))
        .await
        .assert_error(404, "Not Found");
    let list = get(
        &house,
        &operators,
        &format!("/api/fleet/agents/{}/uploads", agent.id),
    )
    .await;
    assert_eq!(list["items"][0]["status"], "DELETED");
    assert!(house.files().is_empty());
}

#[actix_rt::test]
async fn what_is_no_file_or_no_agent_is_404_and_lists_have_pages() {
    let house = House::new().await;
    let (face, operators) = (unpaced(&house).await, house.operators().await);
    let agent = house.enroll(&face).await;
    begun(&face, &agent, "a1", 5).await;
    let open = format!("/api/fleet/agents/files/a1.{}/x", agent.id);
    for path in [
        open.as_str(),
        "/api/fleet/agents/files/nobodys/x",
        "/api/fleet/agents/files/..%2F..%2Fadmin.key/x",
        "/api/fleet/agents/nobody/uploads",
    ] {
        let answer = operators.send(house.admin(Method::GET, path)).await;
        answer.assert_error(404, "Not Found");
    }
    for action in ["a2", "a3"] {
        sent(&face, &agent, action, "f", b"x").await;
    }
    let path = format!("/api/fleet/agents/{}/uploads?perPage=2", agent.id);
    let first = get(&house, &operators, &path).await;
    assert_eq!(
        (first["total"].clone(), first["items"].as_array().unwrap().len()),
        (json!(3), 2)
    );
    let next = first["nextSearchAfter"].as_str().unwrap();
    let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
    let rest = get(&house, &operators, &format!("{path}&searchAfter={next}")).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    operators
        .send(house.admin(Method::GET, &format!("{path}&name=x")))
        .await
        .assert_error(400, "Bad Request");
}
