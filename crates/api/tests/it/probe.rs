//! The metrics listener.

use std::sync::Arc;

use actix_web::{
    http::Method,
    test::{TestRequest, init_service},
};
use api::{HttpMetrics, Part, PartHealth, Probe, Readiness};
use prometheus_client::registry::Registry;

use crate::house::Face;

/// Parts that stay as they are.
struct Still(Vec<Part>);

impl PartHealth for Still {
    fn parts(&self) -> Vec<Part> {
        self.0.clone()
    }
}

async fn probe(readiness: &Readiness) -> Face {
    probe_with(readiness, Vec::new()).await
}

async fn probe_with(readiness: &Readiness, parts: Vec<Part>) -> Face {
    let mut registry = Registry::with_prefix("fleet_server");
    let metrics = HttpMetrics::register(&mut registry);
    let (registry, parts) = (Arc::new(registry), Arc::new(Still(parts)));
    let connections = Arc::new(|| (7, 3));
    let probe = Probe::new(
        registry,
        metrics,
        readiness.clone(),
        parts,
        connections,
        "0.1.0".to_owned(),
    );
    Face::of(init_service(probe.app()).await).await
}

#[actix_rt::test]
async fn readiness_is_all_of_its_conditions() {
    let readiness = Readiness::default();
    let face = probe(&readiness).await;
    let answer = face.send(TestRequest::with_uri("/readyz")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), "[-] store: no\n[-] listeners: no\nnot ready\n");
    readiness.set_store_open(true);
    readiness.set_listeners_accept(true);
    let answer = face.send(TestRequest::with_uri("/readyz")).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ok\n"));
    let verbose = face.send(TestRequest::with_uri("/readyz?verbose")).await;
    assert_eq!(
        verbose.text(),
        "[+] store: ok\n[+] listeners: ok\n[+] not draining: ok\nok\n"
    );
    readiness.drain();
    let answer = face.send(TestRequest::with_uri("/readyz")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (503, "[-] not draining: no\nnot ready\n")
    );
    assert_eq!(
        face.send(TestRequest::with_uri("/livez")).await.text(),
        "ok\n",
        "alive while it drains"
    );
}

#[actix_rt::test]
async fn r35_a_degraded_part_is_shown_and_changes_no_status() {
    let readiness = Readiness::default();
    readiness.set_store_open(true);
    readiness.set_listeners_accept(true);
    let part = |name: &str, degraded: Option<&str>| Part {
        name: name.to_owned(),
        degraded: degraded.map(str::to_owned),
    };
    let parts = vec![
        part("tls agents", Some("tls.crt: is empty")),
        part("tls admin", None),
    ];
    let face = probe_with(&readiness, parts).await;
    let brief = face.send(TestRequest::with_uri("/readyz")).await;
    assert_eq!((brief.status.as_u16(), brief.text().as_str()), (200, "ok\n"));
    let verbose = face.send(TestRequest::with_uri("/readyz?verbose")).await;
    assert_eq!(verbose.status, 200);
    assert_eq!(
        verbose.text(),
        "[+] store: ok\n[+] listeners: ok\n[+] not draining: ok\n\
         [!] tls agents: degraded: tls.crt: is empty\n[+] tls admin: ok\nok\n"
    );
    let stats = face.send(TestRequest::with_uri("/stats")).await.ok();
    assert_eq!(
        stats["health"],
        serde_json::json!({"status": "degraded", "parts": {
            "tls admin": {"status": "healthy"},
            "tls agents": {"status": "degraded", "reason": "tls.crt: is empty"},
        }})
    );
}

#[actix_rt::test]
async fn metrics_are_prometheus_text() {
    let face = probe(&Readiness::default()).await;
    let answer = face.send(TestRequest::with_uri("/metrics")).await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text();
    for part in [
        "# TYPE fleet_server_http_panics_total counter",
        "# TYPE fleet_server_rejected_total counter",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(
        text.contains("fleet_server_rejected_total{route=\"checkin\",reason=\"max_limit\"} 0\n"),
        "{text}"
    );
    for line in [
        "service_info{name=\"fleet-server\",version=\"0.1.0\"} 1\n",
        "http_server_tcp_active 4\n",
        "http_server_routes_checkin_limit_max 0\n",
        "http_server_routes_uploadStart_body_in 0\n",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let asked = TestRequest::with_uri("/metrics").insert_header(("accept", "application/openmetrics-text"));
    let text = face.send(asked).await.text();
    assert!(
        text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1,
        "{text}"
    );
}

#[actix_rt::test]
async fn met_01_name_and_numbers() {
    let face = probe(&Readiness::default()).await;
    let root = face.send(TestRequest::with_uri("/")).await.ok();
    assert_eq!(
        root,
        serde_json::json!({"name": "fleet-server", "version": "0.1.0"})
    );
    let stats = face.send(TestRequest::with_uri("/stats?pretty")).await.ok();
    let server = &stats["http_server"];
    assert_eq!(
        (
            &server["tcp_open"],
            &server["tcp_close"],
            &server["tcp_active"],
            &server["tcp_rejected_rate"]
        ),
        (&7.into(), &3.into(), &4.into(), &0.into())
    );
    let routes = server["routes"].as_object().unwrap();
    assert_eq!(routes.len(), 12);
    for (name, route) in routes {
        for member in [
            "active",
            "total",
            "limit_rate",
            "limit_max",
            "limit_max_rate",
            "fail",
            "drop",
            "body_in",
            "body_out",
        ] {
            assert_eq!(route[member], 0, "{name}.{member}");
        }
    }
    assert_eq!(routes["artifacts"]["not_found"], 0);
    assert!(server["memstats"]["rss"].as_u64().unwrap() > 1 << 20);
    assert!(server["cpu"]["total"]["time"]["ms"].is_u64());
    assert!(server["runtime"]["threads"].as_u64().unwrap() >= 1);
    assert!(server["handles"]["open"].as_u64().unwrap() >= 1);
    assert_eq!(server["info"]["version"], "0.1.0");
    assert_eq!(
        stats["health"],
        serde_json::json!({"status": "healthy", "parts": {}})
    );
    for empty in ["/state", "/dataset"] {
        let answer = face.send(TestRequest::with_uri(empty)).await.ok();
        assert_eq!(answer, serde_json::json!({}), "{empty}");
    }
    assert_eq!(face.send(TestRequest::with_uri("/nothing")).await.status, 404);
    assert_eq!(face.send(TestRequest::post().uri("/metrics")).await.status, 405);
}

#[actix_rt::test]
async fn case_10_head_is_get_on_every_path() {
    let face = probe(&Readiness::default()).await;
    for path in [
        "/livez", "/readyz", "/metrics", "/stats", "/state", "/dataset", "/",
    ] {
        let head = TestRequest::with_uri(path).method(Method::HEAD);
        let get = face.send(TestRequest::with_uri(path)).await;
        let head = face.send(head).await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (get.status, get.header("content-type")),
            "{path}"
        );
    }
    let post = face
        .send(TestRequest::with_uri("/livez").method(Method::POST))
        .await;
    assert_eq!((post.status.as_u16(), post.header("allow")), (405, "GET, HEAD"));
}
