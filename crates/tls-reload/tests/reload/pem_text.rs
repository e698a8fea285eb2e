//! How PEM may be written, in every file that is read; what is told of text that is damaged or no PEM at all.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tls_reload::{Form, LoadError, PemSource, Settings, Warning};

use crate::authority::{Authority, Order, Pair, pem};
use crate::site::{directory, settings};
use crate::start::{load, refused};

/// A set of every kind of PEM file, all written as `change` writes them.
fn set(change: impl Fn(&str) -> Vec<u8>) -> (TempDir, Settings) {
    let root = directory();
    let authority = Authority::new("root");
    let middle = authority.intermediate("middle");
    let pair = middle.issue(&Order::new(&["localhost"]));
    let write = |name: &str, text: &str| fs::write(root.path().join(name), change(text)).expect("write");
    write("tls.crt", &format!("{}{}", pair.certificate, middle.pem));
    write("tls.key", &pair.key);
    write("ca.crt", &format!("{}{}", authority.pem, middle.pem));
    let lists = [&authority, &middle].map(|ca| ca.revoke(&[], time::Duration::days(9)));
    write("list", &lists.concat());
    let mut settings = settings(root.path());
    settings.client_authorities = vec![PemSource::Path(root.path().join("ca.crt"))];
    settings.revocation_lists = vec![root.path().join("list")];
    (root, settings)
}

fn spoiled(text: impl AsRef<[u8]>) -> (TempDir, LoadError) {
    let (root, settings) = set(|text| text.as_bytes().to_vec());
    fs::write(root.path().join("tls.crt"), text).expect("write");
    let error = refused(&settings).first().cloned().expect("an error");
    (root, error)
}

#[test]
fn every_way_to_write_pem_is_read_in_every_file() {
    type Write = fn(&str) -> Vec<u8>;
    let ways: [(&str, Write); 11] = [
        ("as it is", |text| text.into()),
        ("a byte order mark", |text| {
            [b"\xef\xbb\xbf", text.as_bytes()].concat()
        }),
        ("CRLF", |text| text.replace('\n', "\r\n").into()),
        ("CR alone", |text| text.replace('\n', "\r").into()),
        ("a blank before each line", |text| {
            text.lines()
                .map(|line| format!(" {line}\n"))
                .collect::<String>()
                .into()
        }),
        ("tabs before and blanks behind", |text| {
            text.lines()
                .map(|line| format!("\t{line}  \t\r\n"))
                .collect::<String>()
                .into()
        }),
        ("blank lines between lines", |text| {
            text.replace('\n', "\n\n").into()
        }),
        ("lines folded into one", |text| text.replace('\n', " ").into()),
        ("sections without a line end between them", |text| {
            text.replace("-----\n-----", "----------").trim_end().into()
        }),
        ("explanations around sections", |text| {
            text.replace("-----BEGIN", "Bag Attributes\n    friendlyName: x y\n-----BEGIN")
                .into()
        }),
        ("lines of 76", |text| {
            let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
            for line in lines.iter_mut().filter(|line| line.len() == 64) {
                line.insert(32, '\n');
            }
            format!("{}\n", lines.join("\n")).into()
        }),
    ];
    for (name, way) in ways {
        let (_root, settings) = set(way);
        let generation = load(&settings).unwrap_or_else(|rejected| panic!("{name}: {rejected}"));
        let info = generation.info();
        assert_eq!(
            (
                info.pairs[0].intermediates,
                info.client_authorities.len(),
                info.revocation_lists.len()
            ),
            (1, 2, 2),
            "{name}: nothing vanishes"
        );
        assert!(
            generation
                .warnings()
                .iter()
                .all(|warning| matches!(warning, Warning::WorldReadableKey { .. })),
            "{name}: {:?}",
            generation.warnings()
        );
    }
}

#[test]
fn a_damaged_section_is_told_with_its_line() {
    let pair = Authority::new("root").server();
    let good = pair.certificate.as_str();
    let lines = good.lines().count();
    let second = |damaged: &str| format!("{good}{damaged}");
    for (text, line, words) in [
        (
            second(&good.replace("-----BEGIN", "----BEGIN")),
            lines + 1,
            "five hyphens",
        ),
        (
            second(&good.replace("-----BEGIN", "\u{2014}BEGIN")),
            lines + 1,
            "five hyphens",
        ),
        (
            second(&good.replace("CERTIFICATE-----\nM", "CERTIFICATE---\nM")),
            lines + 1,
            "does not end as one",
        ),
        (
            second(&good.replace("-----BEGIN CERTIFICATE-----\n", "")),
            lines + 1,
            "outside of any section",
        ),
        (second("-----END CERTIFICATE-----\n"), lines + 1, "never began"),
        (second(&good[..good.len() / 2]), lines + 1, "cut off"),
        (format!("{}{good}", &good[..good.len() / 2]), 1, "cut off"),
        (
            good.replace("-----END CERTIFICATE-----", "-----END CERTIFICATE---"),
            lines,
            "damaged itself",
        ),
        (
            good.replace("END CERTIFICATE", "END PRIVATE KEY"),
            lines,
            "another name",
        ),
        (good.replacen("\nM", "\n\nM*", 1), 3, "not base64"),
        (good.replacen("\nM", "\nM\u{a0}", 1), 2, "not base64"),
        (
            format!("\n\n{}", good.replacen("\nM", "\nMM", 1)),
            3,
            "not base64",
        ),
    ] {
        let (_root, error) = spoiled(&text);
        assert!(
            matches!(&error, LoadError::BrokenPem { line: found, reason, .. } if *found == line && reason.contains(words)),
            "{words} in line {line}: {error}\n{text}"
        );
    }
}

#[test]
fn what_a_file_is_instead_is_told_with_a_command() {
    use base64::Engine as _;
    let pair = Authority::new("root").server();
    let base64 = base64::engine::general_purpose::STANDARD;
    let wide = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let sequence = |inside: &[u8]| [&[0x30, 0x82, 1, 0], inside, &[0; 240]].concat();
    let pkcs7 = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    let pbes2 = [
        0x30, 0x57, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d,
    ];
    for (bytes, form, words, command) in [
        (
            pair.der.to_vec(),
            Form::DerCertificate,
            "certificate as DER",
            "openssl x509 -inform der -in ",
        ),
        (
            pair.key_der.clone(),
            Form::DerKey,
            "private key as DER",
            "openssl pkey -inform der -in ",
        ),
        (
            sequence(&[2, 1, 3, 0x30]),
            Form::Pkcs12,
            "PKCS#12",
            "openssl pkcs12 -in ",
        ),
        (
            sequence(&pkcs7),
            Form::Pkcs7 { is_pem: false },
            "PKCS#7",
            "openssl pkcs7 -inform der -print_certs -in ",
        ),
        (
            sequence(&pbes2),
            Form::DerEncryptedKey,
            "encrypted private key as DER",
            "openssl pkcs8 -inform der -in ",
        ),
        (
            sequence(b"??"),
            Form::Der,
            "DER",
            "openssl asn1parse -inform der -in ",
        ),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            Form::JavaKeystore,
            "Java keystore",
            "keytool -importkeystore ",
        ),
        (
            [b"\xff\xfe".to_vec(), wide(&pair.certificate)].concat(),
            Form::Utf16,
            "UTF-16",
            "iconv -f UTF-16 ",
        ),
        (
            base64.encode(&pair.certificate).into_bytes(),
            Form::Base64OfPem,
            "once more",
            "base64 -d ",
        ),
        (
            base64.encode(&pair.der).into_bytes(),
            Form::BareBase64,
            "without the",
            "base64 -d ",
        ),
        (
            pem("TRUSTED CERTIFICATE", &pair.der).into_bytes(),
            Form::TrustedCertificate,
            "line 1 holds",
            "openssl x509 -in ",
        ),
        (
            pem("PKCS7", b"\x30\x00").into_bytes(),
            Form::Pkcs7 { is_pem: true },
            "PKCS#7",
            "openssl pkcs7 -inform pem ",
        ),
        (
            pem("OPENSSH PRIVATE KEY", b"\x30\x00").into_bytes(),
            Form::OpensshKey,
            "OpenSSH",
            "ssh-keygen -p -m PKCS8 ",
        ),
        (
            b"hello".to_vec(),
            Form::Unknown,
            "holds no PEM section",
            "copied whole",
        ),
    ] {
        let (root, error) = spoiled(bytes);
        assert!(
            matches!(&error, LoadError::NotPem { form: found, .. } if *found == form),
            "{words}: {error}"
        );
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().contains(command), "{}", error.hint());
        let names_file = error
            .hint()
            .contains(&root.path().join("tls.crt").display().to_string());
        assert!(names_file || form == Form::Unknown, "{}", error.hint());
    }
    let odd = Form::DerCertificate.hint("/etc/o'brien certs/tls.crt");
    assert!(
        odd.contains(r"-in '/etc/o'\''brien certs/tls.crt' -out '/etc/o'\''brien certs/tls.crt.pem'"),
        "{odd}"
    );
}

#[test]
fn what_is_not_used_is_a_warning_and_what_is_missing_is_told_with_what_is_there() {
    let (root, settings) = set(|text| text.as_bytes().to_vec());
    let append = |name: &str, text: &str| {
        let path = root.path().join(name);
        let before = fs::read_to_string(&path).expect("read");
        fs::write(path, format!("{before}{text}")).expect("write");
    };
    append("tls.crt", &pem("DH PARAMETERS", b"\x30\x00"));
    append("ca.crt", &Authority::new("a CA's key").key_pem());
    append("list", &Authority::new("a CA").pem);
    let generation = load(&settings).expect("served");
    let told: Vec<(&str, &str)> = generation
        .warnings()
        .iter()
        .filter_map(|warning| match warning {
            Warning::SectionUnused {
                role, label, line, ..
            } if *line > 10 => Some((*role, label.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            ("certificate", "DH PARAMETERS"),
            ("client CA", "PRIVATE KEY"),
            ("revocation list", "CERTIFICATE")
        ]
    );
    fs::write(root.path().join("tls.key"), pem("DSA PRIVATE KEY", b"\x30\x00")).expect("write");
    let rejected = refused(&settings);
    assert!(
        rejected
            .to_string()
            .contains("holds no private key, but DSA PRIVATE KEY (line 1)"),
        "{rejected}"
    );
}

#[test]
fn a_combined_file_named_twice_is_warned_about_once() {
    let root = directory();
    let Pair { certificate, key, .. } = Authority::new("root").server();
    let both = root.path().join("both.pem");
    fs::write(
        &both,
        format!("{certificate}{key}{}", pem("DH PARAMETERS", b"\x30\x00")),
    )
    .expect("write");
    let source = |path: &Path| PemSource::Path(path.to_owned());
    let generation = load(&Settings::single(source(&both), Some(source(&both)))).expect("served");
    let unused = |warning: &&Warning| matches!(warning, Warning::SectionUnused { .. });
    assert_eq!(
        generation.warnings().iter().filter(unused).count(),
        1,
        "{:?}",
        generation.warnings()
    );
}
