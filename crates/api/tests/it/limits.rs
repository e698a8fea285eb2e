//! GEN-21 to 23 and time-outs: what a listener refuses (agents.md 1.10).

use std::{pin::Pin, time::Duration};

use actix_web::{
    dev::Payload,
    error::PayloadError,
    test::{TestRequest, init_service},
    web::Bytes,
};
use api::{AgentOptions, Limits, Route, RouteLimits};
use futures_util::{Stream, stream};
use serde_json::json;

use crate::house::{Face, House, checkin_request, poll_request, until, with_key};

fn options(limits: Limits) -> AgentOptions {
    AgentOptions {
        limits,
        ..AgentOptions::default()
    }
}

#[actix_rt::test]
async fn gen_21_an_empty_bucket_is_429_with_the_wait() {
    let house = House::new().await;
    let hour = Duration::from_secs(3600);
    let slow = RouteLimits {
        interval: Some(hour),
        burst: 1,
        ..RouteLimits::NONE
    };
    let face = house
        .agents_with(options(Limits::default().with(Route::Status, slow)))
        .await;
    assert_eq!(face.send(TestRequest::with_uri("/api/status")).await.status, 200);
    let answer = face.send(TestRequest::with_uri("/api/status")).await;
    assert_eq!(answer.assert_error(429, "RateLimit"), "exceeded the rate limit");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((3590..=3601).contains(&wait), "{wait}");
    assert_eq!(answer.header("elastic-api-version"), "");
    let other = house
        .agents_with(options(Limits::default().with(Route::Status, slow)))
        .await;
    assert_eq!(
        other.send(TestRequest::with_uri("/api/status")).await.status,
        200,
        "limits are per listener"
    );
    let slashed = face.send(TestRequest::with_uri("/api/status/")).await;
    assert_eq!(
        slashed.status, 429,
        "the bucket is chosen from the path's shape, before routing"
    );
    assert!(
        house
            .scrape()
            .contains("fleet_server_rejected_total{route=\"status\",reason=\"rate_limit\"} 2")
    );
}

#[actix_rt::test]
async fn gen_22_a_poll_holds_its_place_while_it_waits() {
    let house = House::new().await;
    let one = RouteLimits {
        in_flight: Some(1),
        ..RouteLimits::NONE
    };
    let face = house
        .agents_with(options(Limits::default().with(Route::Checkin, one)))
        .await;
    let (first, second) = (house.enroll(&face).await, house.enroll(&face).await);
    let waiting = face.start(poll_request(&first, 1));
    until(|| house.fleet.waiting() == 1).await;
    let answer = face
        .send(checkin_request(&second, &json!({"status": "online"})))
        .await;
    assert_eq!(answer.assert_error(429, "MaxLimit"), "exceeded the max limit");
    assert!(!answer.header("retry-after").is_empty());
    house.fleet.release_waiters();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(
        face.send(checkin_request(&second, &json!({"status": "online"})))
            .await
            .status,
        200
    );
}

#[actix_rt::test]
async fn gen_23_the_soft_cap_answers_in_text() {
    let house = House::new().await;
    let api = house.api(options(Limits::default().with_max_connections(Some(1))));
    let face = Face::of(init_service(api.app()).await).await;
    let agent = house.enroll(&face).await;
    let waiting = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    let answer = face.send(TestRequest::with_uri("/api/status")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (429, "Server capacity exceeded.\n")
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("x-request-id").len(), 36);
    house.fleet.release_waiters();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(face.send(TestRequest::with_uri("/api/status")).await.status, 200);
    assert!(
        house
            .scrape()
            .contains("fleet_server_rejected_total{route=\"status\",reason=\"max_connections\"} 1")
    );
}

#[actix_rt::test]
async fn a_body_that_stalls_is_408() {
    let house = House::new().await;
    let body_timeout = Duration::from_millis(50);
    let face = house
        .agents_with(AgentOptions {
            body_timeout,
            ..AgentOptions::default()
        })
        .await;
    let stalled = || {
        let payload: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(stream::pending());
        let request = with_key("/api/fleet/agents/enroll", &house.token).to_request();
        let (request, _) = request.replace_payload(Payload::Stream { payload });
        request
    };
    let answer = face.send_raw(stalled()).await;
    assert_eq!(answer.assert_error(408, "RequestTimeout"), "timeout on request");
    assert!(house.scrape().contains("reason=\"body_timeout\"} 1"));
}

#[actix_rt::test]
async fn requests_and_their_time_are_counted_by_route_and_code() {
    let house = House::new().await;
    let face = house.agents().await;
    house.enroll(&face).await;
    face.send(TestRequest::with_uri("/nope")).await;
    let text = house.scrape();
    for line in [
        "fleet_server_http_requests_total{route=\"enroll\",code=\"200\"} 1",
        "fleet_server_http_requests_total{route=\"other\",code=\"404\"} 1",
        "fleet_server_http_request_duration_seconds_count{route=\"enroll\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
