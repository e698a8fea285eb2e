//! GEN cases: routing, request ids, versions, authentication.

use actix_web::{
    http::Method,
    test::{TestRequest, init_service},
    web,
};
use api::AgentOptions;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleet::{Timestamp, TokenId, tokens};
use serde_json::json;

use crate::house::{Enrolled, Face, House, checkin_request, enroll_request, post, stranger, with_key};

const CHECKIN: &str = "/api/fleet/agents/a1/checkin";

#[actix_rt::test]
async fn gen_01_an_unknown_path_is_404_text() {
    let house = House::new().await;
    let face = house.agents().await;
    for path in [
        "/nope",
        "/api/status/",
        "/",
        "/api/fleet/uploads/a/b/c",
        "/v1/opamp/",
        "/api/fleet/agents/a/audit",
    ] {
        let answer = face.send(TestRequest::with_uri(path)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-request-id").len(), 36);
        assert_eq!(answer.header("elastic-api-version"), "");
    }
}

#[actix_rt::test]
async fn gen_02_another_method_is_405_with_allow() {
    let house = House::new().await;
    let face = house.agents().await;
    for (method, path, allow) in [
        (Method::PUT, "/api/fleet/agents/enroll", "POST"),
        (Method::GET, "/api/fleet/agents/a/checkin", "POST"),
        (Method::DELETE, "/api/fleet/agents/a/acks", "POST"),
        (Method::POST, "/api/status", "GET, HEAD"),
        (Method::HEAD, "/api/fleet/agents/a/acks", "POST"),
    ] {
        let answer = face.send(TestRequest::with_uri(path).method(method)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, allow),
            "{path}"
        );
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
}

#[actix_rt::test]
async fn gen_03_enrolling_into_another_word_is_404() {
    let house = House::new().await;
    let request =
        with_key("/api/fleet/agents/temporary", &house.token).set_payload(r#"{"type":"PERMANENT"}"#);
    assert_eq!(house.agents().await.send(request).await.status, 404);
}

#[actix_rt::test]
async fn gen_04_05_the_request_id_is_echoed_or_made() {
    let house = House::new().await;
    let face = house.agents().await;
    let status = || TestRequest::with_uri("/api/status?");
    assert_eq!(
        face.send(status().insert_header(("x-request-id", "abc")))
            .await
            .header("x-request-id"),
        "abc"
    );
    let made = face.send(status()).await;
    assert!(uuid::Uuid::parse_str(made.header("x-request-id")).is_ok());
    assert_ne!(
        face.send(status()).await.header("x-request-id"),
        made.header("x-request-id")
    );
    let empty = face.send(status().insert_header(("x-request-id", ""))).await;
    assert!(uuid::Uuid::parse_str(empty.header("x-request-id")).is_ok());
}

#[actix_rt::test]
async fn gen_06_07_08_09_the_version_of_the_api_is_checked_before_the_key() {
    let house = House::new().await;
    let face = house.agents().await;
    let status = TestRequest::with_uri("/api/status");
    let answer = face.send(status).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("elastic-api-version")),
        (200, "2023-06-01")
    );
    let asked = |value: &'static str| {
        TestRequest::with_uri("/api/status").insert_header(("elastic-api-version", value))
    };
    let answer = face.send(asked("2023-06-01")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("elastic-api-version")),
        (200, "2023-06-01")
    );
    let answer = face.send(asked("iamnotvalid")).await;
    let message = answer.assert_error(400, "ErrInvalidAPIVersionFormat");
    assert!(
        message.starts_with("received \"iamnotvalid\", expected a valid date string"),
        "{message}"
    );
    assert_eq!(answer.header("elastic-api-version"), "2023-06-01");
    let request = post(CHECKIN)
        .insert_header(("user-agent", "Elastic Agent v9.6.0"))
        .insert_header(("elastic-api-version", "1990-01-01"));
    let answer = face.send(request).await;
    let message = answer.assert_error(400, "ErrUnsupportedAPIVersion");
    assert!(
        message.contains("supported versions are: [2023-06-01]"),
        "{message}"
    );
    assert_eq!(answer.header("elastic-api-version"), "2023-06-01");
}

#[actix_rt::test]
async fn gen_10_to_15_each_wrong_key_has_its_name() {
    let house = House::new().await;
    let face = house.agents().await;
    for path in ["/api/fleet/agents/enroll", CHECKIN, "/api/fleet/agents/a1/acks"] {
        let request = post(path)
            .insert_header(("user-agent", "Elastic Agent v9.6.0"))
            .set_payload("{}");
        face.send(request).await.assert_error(401, "ErrNoAuthHeader");
    }
    let not_utf8 = format!("ApiKey {}", STANDARD.encode([0xff, b':', 0xfe]));
    let unknown = format!("ApiKey {}", stranger());
    for (header, status, name) in [
        ("Bearer x", 400, "ErrMalformedHeader"),
        ("ApiKey invalidbase64", 401, "ErrInvalidToken"),
        ("ApiKey dGVzdA==", 400, "ErrMalformedToken"),
        (&not_utf8, 401, "ErrInvalidToken"),
        (&unknown, 401, "ErrUnauthorized"),
    ] {
        let request = post(CHECKIN)
            .insert_header(("user-agent", "Elastic Agent v9.6.0"))
            .insert_header(("authorization", header))
            .set_payload("{}");
        face.send(request).await.assert_error(status, name);
    }
    let twice = with_key(CHECKIN, &house.token).append_header(("authorization", "ApiKey x"));
    face.send(twice).await.assert_error(400, "ErrMalformedHeader");
}

#[actix_rt::test]
async fn gen_18_a_revoked_token_admits_nobody() {
    let house = House::new().await;
    let face = house.agents().await;
    let page = tokens::list(&house.fleet, fleet::PageRequest::first(1))
        .await
        .unwrap();
    let id: TokenId = page.items[0].id.clone();
    tokens::revoke(&house.fleet, &id, Timestamp::now()).await.unwrap();
    let answer = face
        .send(enroll_request(&house.token, &json!({"type": "PERMANENT"})))
        .await;
    assert_eq!(answer.assert_error(401, "Unauthorized"), "ApiKey not enabled");
}

#[actix_rt::test]
async fn gen_20_a_wrong_secret_of_a_known_id_is_refused() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let pair = String::from_utf8(STANDARD.decode(&agent.key).unwrap()).unwrap();
    let (id, _) = pair.split_once(':').unwrap();
    let forged = Enrolled {
        key: STANDARD.encode(format!("{id}:guess")),
        id: agent.id,
    };
    face.send(checkin_request(&forged, &json!({"status": "online"})))
        .await
        .assert_error(401, "ErrUnauthorized");
}

#[actix_rt::test]
async fn gen_25_to_28_which_agents_are_accepted() {
    let house = House::new().await;
    let face = house.agents().await;
    let enroll = |agent: &'static str| {
        post("/api/fleet/agents/enroll")
            .insert_header(("authorization", format!("ApiKey {}", house.token)))
            .insert_header(("user-agent", agent))
            .set_payload(r#"{"type":"PERMANENT"}"#)
    };
    let body = face.send(enroll("elastic agent 8.6.0")).await.ok();
    let agent = house.agent(body["item"]["id"].as_str().unwrap()).await;
    assert_eq!(agent.version, "8.6.0");
    assert_eq!(face.send(enroll("Elastic Agent v9.6.7")).await.status, 200);
    face.send(enroll("Elastic Agent v9.7.0"))
        .await
        .assert_error(400, "UnsupportedVersion");
    face.send(enroll("Elastic Agent v7.12.5"))
        .await
        .assert_error(400, "UnsupportedVersion");
    face.send(enroll("elastic-agent 9.0.0"))
        .await
        .assert_error(400, "InvalidUserAgent");
    face.send(enroll("curl/8"))
        .await
        .assert_error(400, "InvalidUserAgent");
}

#[actix_rt::test]
async fn gen_29_missing_and_repeated_headers_are_400() {
    let house = House::new().await;
    let face = house.agents().await;
    let bare =
        post("/api/fleet/agents/enroll").insert_header(("authorization", format!("ApiKey {}", house.token)));
    let answer = face.send(bare).await;
    let message = answer.assert_error(400, "BadRequest");
    assert!(message.contains("User-Agent is required"), "{message}");
    assert_eq!(
        answer.header("elastic-api-version"),
        "",
        "binding comes before negotiation"
    );
    for (name, value) in [
        ("user-agent", "Elastic Agent v9.6.0"),
        ("x-request-id", "b"),
        ("elastic-api-version", "2023-06-01"),
        ("accept-encoding", "gzip"),
        ("content-encoding", "gzip"),
    ] {
        let request = with_key(CHECKIN, &house.token)
            .append_header((name, value))
            .append_header((name, value));
        let message = face.send(request).await.assert_error(400, "BadRequest");
        assert!(message.contains("expected one value for"), "{name}: {message}");
    }
}

#[actix_rt::test]
async fn gen_30_the_key_is_judged_before_the_user_agent() {
    let house = House::new().await;
    let request = post("/api/fleet/agents/enroll")
        .insert_header(("authorization", format!("ApiKey {}", stranger())))
        .insert_header(("user-agent", "curl/8"));
    house
        .agents()
        .await
        .send(request)
        .await
        .assert_error(401, "ErrUnauthorized");
}

#[actix_rt::test]
async fn a_panic_is_500_without_a_body_and_the_server_goes_on() {
    let house = House::new().await;
    let api = house.api(AgentOptions::default());
    let app = actix_web::App::new()
        .wrap(api.gate())
        .configure(|config| api.configure(config))
        .route(
            "/panics",
            web::get().to(|| async { if true { panic!("on purpose") } else { "" } }),
        );
    let face = Face::of(init_service(app).await).await;
    let answer = face
        .send(TestRequest::with_uri("/panics").insert_header(("x-request-id", "p1")))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-request-id")),
        (500, "p1")
    );
    assert!(answer.body.is_empty());
    assert_eq!(face.send(TestRequest::with_uri("/api/status")).await.status, 200);
    assert_eq!((house.metrics.panics(), api.gate().in_flight()), (1, 0));
    assert!(house.scrape().contains("fleet_server_http_panics_total 1"));
}

#[actix_rt::test]
async fn gen_33_chk_52_b5_a_fault_inside_is_not_told_and_503_names_a_wait() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    house.store.close().await.unwrap();
    for request in [
        checkin_request(&agent, &json!({"status": "online"})),
        enroll_request(&house.token, &json!({"type": "PERMANENT"})),
    ] {
        let answer = face.send(request).await;
        let message = answer.assert_error(503, "ServiceUnavailable");
        assert!(message.contains(answer.header("x-request-id")), "{message}");
        assert!(
            !message.contains("store") && !message.contains("sqlite"),
            "{message}"
        );
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
}

#[actix_rt::test]
async fn an_id_with_an_encoded_slash_is_one_segment() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let request = with_key("/api/fleet/agents/a%2Fb/checkin", &agent.key).set_payload("{}");
    let answer = face.send(request).await;
    assert!(
        [400, 403, 404].contains(&answer.status.as_u16()),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8",
        "routed, not an unknown path"
    );
    let encoded = agent.id.replacen('-', "%2D", 1);
    let request = with_key(&format!("/api/fleet/agents/{encoded}/checkin"), &agent.key);
    assert_eq!(
        face.send(request.set_payload(r#"{"status":"online"}"#))
            .await
            .status,
        200
    );
}

#[actix_rt::test]
async fn pgp_01_the_signing_key_is_told_over_tls_only() {
    let house = House::new().await;
    let face = house.agents().await;
    let ask =
        |version: &str| TestRequest::with_uri(&format!("/api/agents/upgrades/{version}/pgp-public-key"));
    let answer = face.send(ask("1.2.3")).await;
    let message = answer.assert_error(501, "ErrTLSRequired");
    assert_eq!(message, "server must run with tls to use this endpoint");
    for version in ["1.2", "1.2.3.4", "1.2.x", "..", "-1.2.3"] {
        face.send(ask(version)).await.assert_error(400, "BadRequest");
    }
    let posted = face.send(ask("1.2.3").method(Method::POST)).await;
    assert_eq!(
        (posted.status.as_u16(), posted.header("allow")),
        (405, "GET, HEAD")
    );
}
