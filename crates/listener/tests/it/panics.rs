//! A handler that panics costs its own request only.

use bytes::Bytes;

use crate::{
    protocols::Http2,
    support::{get, identity, start, tls},
};

#[actix_rt::test]
async fn a_panic_is_an_empty_500_and_the_connection_goes_on() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut http1 = tls(server.port, &identity.roots, &[]).await.unwrap();
    let mut http2 = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    for path in ["/panic", "/panic-later"] {
        assert_eq!(get(&mut http1, path).await, (500, String::new()));
        assert_eq!(get(&mut http1, "/hello").await, (200, "hello".into()));
        assert_eq!(http2.get(path).await, (500, String::new()));
        assert_eq!(
            http2.post("/count", Bytes::from_static(b"abc")).await,
            (200, "3".into())
        );
    }
    assert_eq!(server.metric("handler_panics_total"), 4);
    server.until("requests_active", 0).await;
    server.stop().await;
}
