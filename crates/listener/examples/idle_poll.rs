//! What this crate's composition costs for each waiting TLS long poll, without a domain or a store behind it.
//!
//! Serves just enough of the agents' routes for `fleet-load idle`:
//!
//! ```sh
//! cargo run --release -p listener --example idle_poll -- ca.pem &
//! cargo run --release -p fleet-load -- idle --url https://localhost:PORT --ca ca.pem --token x \
//!     --agents 10000 --pid $!
//! ```
//! With `keep-headers` as second argument the request's headers are not dropped while it waits; a third one is
//! the size of the policy in bytes.
#![expect(clippy::print_stdout, reason = "a program for people to read")]
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made ends with its reason"
)]

use std::io::Read as _;

use actix_service::Service as _;
use actix_web::{App, HttpRequest, HttpResponse, web};
use listener::{Endpoint, ListenerMetrics, PassedSockets, ServerBuilder, Shutdown, bind};
use serde_json::{Value, json};
use test_support::{CertificateAuthority, PairFiles};
use tls_reload::{PemSource, Reloader, Settings};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[actix_rt::main]
async fn main() {
    let ca_file = std::env::args().nth(1).unwrap();
    let keeps_headers = std::env::args().nth(2).is_some_and(|word| word == "keep-headers");
    let directory = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::new("idle poll");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let files = PairFiles::create(directory.path(), &authority.issue(&["localhost"]));
    let settings = Settings::single(
        PemSource::Path(files.certificate),
        Some(PemSource::Path(files.key)),
    );
    let reloader = Reloader::new(settings).start().unwrap();

    let bound = bind(
        &Endpoint::new("agents", "127.0.0.1", 0).with_tls(reloader.resolver()),
        &mut PassedSockets::default(),
    )
    .unwrap();
    let builder = ServerBuilder::new(ListenerMetrics::default());
    let shutdown = builder.shutdown();
    let app = move || {
        let checkin = web::resource("/api/fleet/agents/{id}/checkin")
            .route(web::post().to(checkin))
            .wrap_fn(move |mut request, service| {
                if !keeps_headers {
                    drop(std::mem::take(request.headers_mut()));
                }
                service.call(request)
            });
        App::new()
            .app_data(web::Data::new(shutdown.clone()))
            .route("/api/fleet/agents/enroll", web::post().to(enroll))
            .route("/api/fleet/agents/{id}/acks", web::post().to(acks))
            .service(checkin)
    };
    let handle = builder.listen(bound, app).unwrap().start().await.unwrap();
    println!(
        "Listening on {} as process {}",
        handle.listening()[0].address,
        std::process::id()
    );
    handle.ended().await;
}

// Reads its body: a connection whose request body nobody took is closed behind the response.
async fn enroll(_: web::Bytes) -> HttpResponse {
    HttpResponse::Ok().json(json!({"action": "created", "item": {"id": "a", "access_api_key": "k"}}))
}

async fn acks(_: web::Bytes) -> HttpResponse {
    HttpResponse::Ok().json(json!({"action": "acks"}))
}

async fn checkin(request: HttpRequest, body: web::Bytes, shutdown: web::Data<Shutdown>) -> HttpResponse {
    let has_policy = {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_string(&mut text)
            .unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        !body["policy_revision_idx"].is_null()
    };
    drop(body);
    drop(request);
    if has_policy {
        shutdown.notified().await;
        return HttpResponse::Ok().json(json!({"action": "checkin", "ack_token": ""}));
    }
    let filler = std::env::args()
        .nth(3)
        .map_or(2000, |bytes| bytes.parse().unwrap());
    let policy = json!({"id": "p", "revision": 1, "filler": "x".repeat(filler)});
    let action = json!({"id": "policy:p:1", "type": "POLICY_CHANGE", "data": {"policy": policy}});
    HttpResponse::Ok().json(json!({"action": "checkin", "ack_token": "", "actions": [action]}))
}
