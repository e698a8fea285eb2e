//! What agents say of files: chunks and ends of uploads, ranges, artifacts. A line of the input is a header's value or a part
//! of the path; what follows is the body.

use actix_web::{http::header::HeaderValue, test::TestRequest};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::{
    faces::{check, check_bytes},
    house::{Answer, FILE, house},
};

/// The chunk's number, its digest, its bytes.
pub(crate) fn upload_chunk(input: &[u8]) {
    let (number, rest) = line(input);
    let (digest, body) = line(rest);
    let Ok(digest) = HeaderValue::from_bytes(digest) else {
        return;
    };
    let number = percent_encode(number, NON_ALPHANUMERIC);
    let answer = house(|house| {
        let request = TestRequest::put()
            .uri(&format!("/api/fleet/uploads/{}/{number}", house.upload(false)))
            .insert_header(("x-chunk-sha2", digest))
            .set_payload(body.to_vec());
        house.of_agent("{key}", request)
    });
    if !is_no_route(&answer) {
        check_bytes(&answer, &[200, 400, 404, 413]);
    }
}

/// The body that ends an upload whose one chunk has arrived.
pub(crate) fn upload_complete(input: &[u8]) {
    house(|house| {
        let path = format!("/api/fleet/uploads/{}", house.upload(false));
        let answer = house.agent(&path, "{key}", input).expect("an answer");
        check(&answer, &[200, 400, 413]);
        if answer.status == 200 {
            house.upload(true);
        }
    });
}

/// `Range`, `If-Range` and `If-None-Match` of a file; absent if the line is empty.
pub(crate) fn byte_range(input: &[u8]) {
    let (range, rest) = line(input);
    let (if_range, rest) = line(rest);
    let (known, _) = line(rest);
    house(|house| {
        let mut request = TestRequest::get().uri(&house.text("/api/fleet/file/{file}"));
        for (name, value) in [("range", range), ("if-range", if_range), ("if-none-match", known)] {
            match HeaderValue::from_bytes(value) {
                Ok(value) if !value.is_empty() => request = request.insert_header((name, value)),
                Ok(_) => {}
                Err(_) => return,
            }
        }
        let answer = house.of_agent("{key}", request);
        match answer.status {
            200 => assert_eq!(answer.body, FILE),
            206 => {
                assert!(!answer.body.is_empty());
                assert!(
                    FILE.windows(answer.body.len()).any(|part| part == answer.body),
                    "{answer:?}"
                );
            }
            304 => assert!(answer.body.is_empty()),
            _ => check(&answer, &[400, 416]),
        }
    });
}

/// Identifier and digest of an artifact, with whatever else a path may hold.
pub(crate) fn artifact(input: &[u8]) {
    let answer = house(|house| {
        let (identifier, digest) = line(input);
        let [identifier, digest] =
            [identifier, digest].map(|part| percent_encode(part, NON_ALPHANUMERIC).to_string());
        let path = match input {
            b"{artifact}" => house.text("/api/fleet/artifacts/{artifact}"),
            _ => format!("/api/fleet/artifacts/{identifier}/{digest}"),
        };
        house.of_agent("{key}", TestRequest::get().uri(&path))
    });
    match answer.status {
        200 => assert_eq!(answer.body, b"[]"),
        _ if is_no_route(&answer) => {}
        _ => check(&answer, &[400, 403, 404]),
    }
}

/// A part of the path is empty.
fn is_no_route(answer: &Answer) -> bool {
    answer.status == 404 && answer.body == b"404 page not found\n"
}

/// The first line, and what follows.
fn line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[]),
    }
}
