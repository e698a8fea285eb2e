//! The words and numbers of a TLS configuration. The first line of an input is four times and a flag.

use std::time::Duration;

use tls_reload::{
    CipherSuite, ClientAuth, Curve, PemSource, Protocol, ReloadSettings, Settings, SpkiPin, VerificationMode,
};

use crate::{
    certificates::{CERTIFICATE, KEY, inline, load},
    faces::one_line,
};

pub(crate) fn words(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (head, text) = input.split_once('\n').unwrap_or(("", &input));
    let mut numbers = head.split(' ').map(|word| word.parse().unwrap_or(0));
    let times: [u64; 4] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    let flag = head.ends_with("true");

    let mut settings = Settings::single(inline(CERTIFICATE), Some(inline(KEY)));
    for word in text.split([',', '\n']) {
        // A word that is read is read again from what it is shown as.
        if let Ok(pin) = word.parse::<SpkiPin>() {
            assert_eq!(pin.to_string().parse::<SpkiPin>(), Ok(pin));
            settings.ca_sha256.push(pin);
        }
        if let Ok(suite) = word.parse::<CipherSuite>() {
            assert_eq!(suite.name().parse::<CipherSuite>(), Ok(suite));
            settings.cipher_suites.push(suite);
        }
        if let Ok(curve) = word.parse::<Curve>() {
            settings.curves.push(curve);
        }
        settings.protocols.extend(word.parse::<Protocol>());
        if let Ok(mode) = word.parse::<ClientAuth>() {
            settings.client_authentication = Some(mode);
        }
        if let Ok(mode) = word.parse::<VerificationMode>() {
            settings.verification_mode = mode;
        }
        settings.pairs[0].names.push(word.to_owned());
        let source = PemSource::from_config(word);
        assert!(
            !format!("{source:?} {source}").contains("PRIVATE KEY-----"),
            "T80"
        );
    }
    settings.reload = ReloadSettings {
        enabled: flag,
        debounce: Duration::from_millis(times[0]),
        max_debounce: flag.then(|| Duration::from_millis(times[1])),
        reload_interval: Duration::from_millis(times[2]),
        expiry_warning: vec![Duration::from_millis(times[3])],
        refuse_expired: flag,
    };
    if let Err(error) = settings.validate() {
        one_line(&error.to_string());
        assert!(!error.hint().is_empty(), "{error:?}");
    }
    let _judged = load(&settings);
}
