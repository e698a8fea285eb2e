//! A new generation is for the next ClientHello; what is open stays.

use std::time::Duration;

use crate::support::tls::{fresh, roots};
use crate::support::{LIMIT, get, identity, response, send, start, tcp, tls};

#[actix_rt::test]
async fn open_connections_and_polls_survive_a_swap() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut old = tls(server.port, &identity.roots, &[]).await.unwrap();
    let mut poll = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut poll, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    // Accepted before the swap, but its ClientHello comes after: judged by the new generation.
    let early = tcp(server.port).await;

    let next = fresh();
    identity.source.swap(&next).await;
    let new_roots = roots([&next.certificate]);

    assert!(
        tls(server.port, &identity.roots, &[]).await.is_err(),
        "the old certificate is still served"
    );
    let mut new = tls(server.port, &new_roots, &[]).await.unwrap();
    assert_eq!(get(&mut new, "/hello").await.0, 200);
    let mut early = crate::support::tls_over(early, &new_roots, &[]).await.unwrap();
    assert_eq!(get(&mut early, "/hello").await.0, 200);

    assert_eq!(get(&mut old, "/hello").await.0, 200);
    server.routes.release.notify_one();
    assert_eq!(response(&mut poll).await.unwrap(), (200, "released".into()));
    server.stop().await;
}

#[actix_rt::test]
async fn no_handshake_fails_while_generations_change() {
    let identity = identity();
    let generations = [fresh(), fresh()];
    let trusted = roots(generations.iter().map(|pair| &pair.certificate));
    identity.source.swap(&generations[0]).await;
    let server = start(identity.endpoint()).await;
    let swapping = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        for turn in 0.. {
            tick.tick().await;
            identity.source.swap(&generations[turn % 2]).await;
        }
    };
    let client = async || {
        for _ in 0..50 {
            let mut io = tls(server.port, &trusted, &[]).await.unwrap();
            assert_eq!(get(&mut io, "/hello").await.0, 200);
        }
    };
    let clients = async { tokio::join!(client(), client(), client(), client()) };
    tokio::select! {
        () = swapping => {}
        outcome = tokio::time::timeout(LIMIT, clients) => { outcome.unwrap(); }
    }
    server.stop().await;
}
