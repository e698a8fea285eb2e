//! The two items of the actix family that are hidden from its documentation, held in one place.
//!
//! - `AppConfig::__priv_test_new`: without it an `App` believes that it is served without TLS, on a wrong host.
//! - `HttpServiceBuilder::graceful_shutdown_signal`: without it an idle keep-alive connection holds a drain for
//!   its whole time.
//!
//! Neither is covered by semantic versioning, so actix-web and actix-http are pinned exactly. The tests of this
//! file and `tests/drain.rs` fail when either stops working.

use std::net::SocketAddr;

use actix_http::{HttpServiceBuilder, Request, Response, body::BoxBody};
use actix_service::ServiceFactory;
use actix_web::dev::AppConfig;

use crate::shutdown::Shutdown;

/// What an `App` believes about the listener it is served by.
pub(crate) fn app_config(is_secure: bool, host: String, address: SocketAddr) -> AppConfig {
    AppConfig::__priv_test_new(is_secure, host, address)
}

/// Makes actix-http close idle connections, and end busy ones after their response, once the drain begins.
pub(crate) fn close_when_draining<T, S>(
    builder: HttpServiceBuilder<T, S>,
    shutdown: Shutdown,
) -> HttpServiceBuilder<T, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as actix_service::Service<Request>>::Future: 'static,
{
    builder.graceful_shutdown_signal(move || {
        let shutdown = shutdown.clone();
        async move { shutdown.notified().await }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_knows_how_it_is_served() {
        let address: SocketAddr = "127.0.0.1:8220".parse().unwrap();
        let config = app_config(true, "localhost:8220".into(), address);
        assert!(config.secure());
        assert_eq!(config.host(), "localhost:8220");
        assert_eq!(config.local_addr(), address);
    }
}
