//! Clients that send requests and do not read the answers cost a bounded amount of memory, and no time.
//!
//! A binary of its own: it measures its process, in which nothing else may run.
#![expect(clippy::unwrap_used, reason = "a test fails where a step fails")]

use std::{num::NonZeroUsize, time::Duration};

use actix_web::{App, web};
use listener::{Endpoint, ListenerMetrics, PassedSockets, ServerBuilder, bind};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle};

const CONNECTIONS: usize = 10;
const ANSWER: usize = 100_000;

fn request() -> Vec<u8> {
    b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50_000)
}

/// Sends requests until nobody takes them.
async fn unread(port: u16, first: &'static str) -> JoinHandle<()> {
    let mut io = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    actix_rt::spawn(async move {
        io.write_all(first.as_bytes()).await.unwrap();
        let requests = request();
        while io.write_all(&requests).await.is_ok() {}
    })
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[actix_rt::test]
async fn requests_whose_answers_are_not_read_cost_nothing() {
    let bound = bind(
        &Endpoint::new("agents", "127.0.0.1", 0),
        &mut PassedSockets::default(),
    )
    .unwrap();
    let port = bound.port();
    let app = || {
        App::new()
            .route("/large", web::to(async || "x".repeat(ANSWER)))
            .route("/wait", web::to(std::future::pending::<&'static str>))
    };
    let server = ServerBuilder::new(ListenerMetrics::default())
        .workers(NonZeroUsize::new(2).unwrap())
        .listen(bound, app)
        .unwrap()
        .start()
        .await
        .unwrap();
    for first in ["", "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"] {
        // What the clients themselves hold is there before the measurement begins.
        let warm = vec![request(); CONNECTIONS];
        let before = resident_kib();
        drop(warm);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(unread(port, first).await);
        }
        // The kernel's buffers fill; from then on nothing moves.
        let quiet = async {
            loop {
                let began = processor_time();
                tokio::time::sleep(Duration::from_millis(500)).await;
                if processor_time() - began < Duration::from_millis(10) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), quiet)
            .await
            .expect("the workers come to rest");
        let growth = resident_kib().saturating_sub(before);
        // Each worker's scratch and the allocator's slack included.
        assert!(growth < 16 * 1024, "{growth} KiB for {CONNECTIONS} connections");
        for client in clients {
            client.abort();
        }
    }
    server.drain(Duration::ZERO).await;
}
