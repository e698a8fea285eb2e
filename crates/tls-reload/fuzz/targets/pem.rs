//! Any bytes as the file that holds chain and key.
#![no_main]

use given::{file, load};
use libfuzzer_sys::fuzz_target;
use tls_reload::{PemSource, Settings};

fuzz_target!(|bytes: &[u8]| {
    let mut settings = Settings::single(PemSource::Path(file(bytes)), None);
    settings.client_authorities = vec![PemSource::Path(file(bytes))];
    let _judged = load(&settings);
});
