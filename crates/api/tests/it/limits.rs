//! GEN-21 to 23 and time-outs: what a listener refuses (agents.md 1.10).

use std::{cell::Cell, future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use actix_web::{
    body::MessageBody as _,
    dev::{Payload, Service as _},
    error::PayloadError,
    http::Method,
    test::{TestRequest, init_service},
    web::Bytes,
};
use api::{AgentOptions, Limits, Route, RouteLimits};
use futures_util::{Stream, stream};
use serde_json::json;

use crate::house::{Face, House, acks_request, checkin_request, poll_request, until, with_key};

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
async fn gen_21_who_waits_as_told_is_admitted() {
    let house = House::new().await;
    let few = RouteLimits {
        interval: Some(Duration::from_millis(100)),
        burst: 4,
        ..RouteLimits::NONE
    };
    let face = house
        .agents_with(options(Limits::default().with(Route::Status, few)))
        .await;
    let status = || face.send(TestRequest::with_uri("/api/status"));
    let mut refused = 0;
    let clients = (0..8).map(|_| status());
    for answer in futures_util::future::join_all(clients).await {
        if answer.status == 429 {
            refused += 1;
            let wait = answer.header("retry-after").parse().unwrap();
            actix_rt::time::sleep(Duration::from_secs(wait)).await;
            assert_eq!(status().await.status, 200, "after {wait} s");
        }
    }
    assert!(refused >= 1);
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
async fn gen_22_a_file_holds_its_place_until_its_last_byte() {
    let house = House::new().await;
    let one = RouteLimits {
        in_flight: Some(1),
        ..RouteLimits::NONE
    };
    let api = house.api(options(Limits::default().with(Route::FileDelivery, one)));
    let app = Rc::new(init_service(api.app()).await);
    let face = Face::of(Rc::clone(&app)).await;
    let agent = house.enroll(&face).await;
    let operators = house.operators().await;
    let path = format!("/api/fleet/files?agents={}&name=a.bin", agent.id);
    let laid = house.admin(Method::POST, &path).set_payload(vec![7; 300_000]);
    let item = operators.send(laid).await.ok();
    let path = format!("/api/fleet/file/{}", item["item"]["id"].as_str().unwrap());
    let get = || with_key(&path, &agent.key).method(Method::GET);
    let sent = || house.scrape().contains("route=\"deliverFile\",code=\"200\"} 1");

    let mut slow = app.call(get().to_request()).await.unwrap().into_body();
    let piece = poll_fn(|cx| Pin::new(&mut slow).poll_next(cx)).await;
    assert!(!piece.unwrap().unwrap().is_empty());
    face.send(get()).await.assert_error(429, "MaxLimit");
    assert!(!sent(), "{}", house.scrape());
    drop(slow);
    assert_eq!(face.send(get()).await.body.len(), 300_000);
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
    let asked_for = Rc::new(Cell::new(0));
    let stalled = || {
        let asked_for = Rc::clone(&asked_for);
        let payload: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> =
            Box::pin(stream::poll_fn(move |_| {
                asked_for.set(asked_for.get() + 1);
                Poll::Pending
            }));
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

/// One request an hour.
fn hourly() -> RouteLimits {
    RouteLimits {
        interval: Some(Duration::from_secs(3600)),
        burst: 1,
        ..RouteLimits::NONE
    }
}

const ADDRESS: &str = "192.0.2.7:4000";

fn from(request: TestRequest, address: &str) -> TestRequest {
    request.peer_addr(address.parse().unwrap())
}

#[actix_rt::test]
async fn attack_11_whoever_has_no_good_key_uses_up_no_limit() {
    let house = House::new().await;
    let routes = [Route::Enroll, Route::Checkin, Route::Acks];
    let limits = routes
        .iter()
        .fold(Limits::default(), |limits, route| limits.with(*route, hourly()));
    let face = house.agents_with(options(limits)).await;
    let stranger = crate::house::stranger();
    for path in ["enroll", "a/checkin", "a/acks"] {
        let path = format!("/api/fleet/agents/{path}");
        assert_ne!(
            face.send(TestRequest::post().uri(&path)).await.status,
            429,
            "{path}"
        );
        assert_eq!(face.send(with_key(&path, &stranger)).await.status, 401, "{path}");
        assert_eq!(
            face.send(TestRequest::delete().uri(&path)).await.status,
            405,
            "{path}"
        );
    }
    let agent = house.enroll(&face).await;
    assert_eq!(
        face.send(checkin_request(&agent, &json!({"status": "online"})))
            .await
            .status,
        200
    );
    let nothing = json!({"events": []});
    assert_eq!(face.send(acks_request(&agent, &nothing)).await.status, 200);
    assert_eq!(
        face.send(acks_request(&agent, &nothing)).await.status,
        429,
        "the limit holds"
    );
}

#[actix_rt::test]
async fn attack_11_only_failed_attempts_of_an_address_are_refused_because_of_it() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let stranger = crate::house::stranger();
    let fail = |address| from(with_key("/api/fleet/agents/enroll", &stranger), address);
    let mut refused = 0;
    for _ in 0..150 {
        let answer = face.send(fail(ADDRESS)).await;
        if answer.status == 429 {
            refused += 1;
            let said = answer.assert_error(429, "RateLimit");
            assert!(said.contains("without a good key"), "{said}");
            assert!(!answer.header("retry-after").is_empty());
        } else {
            answer.assert_error(401, "ErrUnauthorized");
        }
    }
    assert!(refused > 0);
    let good = from(checkin_request(&agent, &json!({"status": "online"})), ADDRESS);
    assert_eq!(face.send(good).await.status, 200);
    let status = from(TestRequest::with_uri("/api/status"), ADDRESS);
    assert_eq!(face.send(status).await.status, 200);
    assert_eq!(
        face.send(fail("192.0.2.8:4000")).await.status,
        401,
        "another address"
    );
    let operators = house.operators().await;
    let admin = from(house.admin(Method::GET, "/api/fleet/agents"), ADDRESS);
    assert_eq!(operators.send(admin).await.status, 200);
    assert!(house.scrape().contains("reason=\"failed_attempts\"} "));
}

#[actix_rt::test]
async fn attack_11_one_agents_checkins_leave_the_others_theirs() {
    let house = House::new().await;
    let few = RouteLimits {
        interval: Some(Duration::from_secs(1)),
        burst: 40,
        ..RouteLimits::NONE
    };
    let face = house
        .agents_with(options(Limits::default().with(Route::Checkin, few)))
        .await;
    let (busy, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let online = json!({"status": "online"});
    let mut refused = 0;
    for _ in 0..60 {
        // Its policy is due each time: it is answered at once.
        refused += u32::from(face.send(checkin_request(&busy, &online)).await.status == 429);
    }
    assert!(refused >= 20, "{refused}");
    assert_eq!(face.send(checkin_request(&other, &online)).await.status, 200);
}

#[actix_rt::test]
async fn attack_11_an_agents_newer_poll_takes_the_place_of_the_older() {
    let house = House::new().await;
    let face = house.agents().await;
    let agent = house.enroll(&face).await;
    let first = face.start(poll_request(&agent, 1));
    until(|| house.fleet.waiting() == 1).await;
    let second = face.start(poll_request(&agent, 1));
    assert_eq!(
        first.await.unwrap().ok(),
        json!({"action": "checkin", "ack_token": ""})
    );
    assert_eq!(house.fleet.waiting(), 1);
    house.fleet.release_waiters();
    assert_eq!(second.await.unwrap().status, 200);
}

#[actix_rt::test]
async fn attack_04_11_one_agents_slow_bodies_leave_the_others_theirs() {
    let house = House::new().await;
    let face = house.agents().await;
    let (slow, other) = (house.enroll(&face).await, house.enroll(&face).await);
    let asked_for = Rc::new(Cell::new(0));
    let stalled = || {
        let asked_for = Rc::clone(&asked_for);
        let payload: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> =
            Box::pin(stream::poll_fn(move |_| {
                asked_for.set(asked_for.get() + 1);
                Poll::Pending
            }));
        let (request, _) = acks_request(&slow, &json!({}))
            .to_request()
            .replace_payload(Payload::Stream { payload });
        let face = face.clone();
        actix_rt::spawn(async move { face.send_raw(request).await })
    };
    let nothing = json!({"events": []});
    let mut held = Vec::new();
    let refused = loop {
        let (before, one) = (asked_for.get(), stalled());
        until(|| asked_for.get() > before || one.is_finished()).await;
        held.push(one);
        let answer = face.send(acks_request(&slow, &nothing)).await;
        if answer.status != 200 {
            break answer;
        }
    };
    refused.assert_error(429, "MaxLimit");
    // Those that came too late for a place are answered; a few hold one.
    until(|| held.iter().filter(|one| !one.is_finished()).count() < 20).await;
    assert_eq!(face.send(acks_request(&other, &nothing)).await.status, 200);
    held.into_iter().for_each(|one| one.abort());
}
