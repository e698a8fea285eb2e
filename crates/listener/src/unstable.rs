//! The one item of the actix family that is hidden from its documentation: `AppConfig::__priv_test_new`. Without it an
//! `App` believes that it is served without TLS, on a wrong host.
//!
//! It is not covered by semantic versioning, so actix-web and actix-http are pinned exactly; the test of this file
//! fails when it stops working.

use std::net::SocketAddr;

use actix_web::dev::AppConfig;

/// What an `App` believes about the listener it is served by.
pub(crate) fn app_config(is_secure: bool, host: String, address: SocketAddr) -> AppConfig {
    AppConfig::__priv_test_new(is_secure, host, address)
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
