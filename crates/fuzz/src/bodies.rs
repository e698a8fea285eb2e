//! What agents send: bodies of enrolments, check-ins, acknowledgements, farewells and of uploads that begin, through the real
//! routes.
//!
//! The first byte says how the rest is sent: plain, as the gzip that it is, or compressed by the target.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use crate::{
    faces::{check, check_bytes},
    house::{Answer, house},
};

pub(crate) fn enroll(input: &[u8]) {
    if let Some(answer) = send("/api/fleet/agents/enroll", "{token}", input) {
        check(&answer, &[200, 400, 403, 404, 408, 413]);
    }
}

pub(crate) fn checkin(input: &[u8]) {
    if let Some(answer) = send("/api/fleet/agents/{agent}/checkin", "{key}", input) {
        check(&answer, &[200, 400, 413]);
    }
}

pub(crate) fn acks(input: &[u8]) {
    if let Some(answer) = send("/api/fleet/agents/{agent}/acks", "{key}", input) {
        check(&answer, &[200, 400, 404, 413]);
    }
}

pub(crate) fn audit(input: &[u8]) {
    let (agent, key) = house(|house| house.departing(false));
    if let Some(answer) = send(&format!("/api/fleet/agents/{agent}/audit/unenroll"), &key, input) {
        check_bytes(&answer, &[200, 400, 409, 413]);
        // An orphan has said its last word.
        house(|house| house.departing(answer.status == 409));
    }
}

pub(crate) fn upload_begin(input: &[u8]) {
    if let Some(answer) = send("/api/fleet/uploads", "{key}", input) {
        check(&answer, &[200, 400, 403, 413]);
    }
}

/// `None`: the request waits.
fn send(path: &str, key: &str, input: &[u8]) -> Option<Answer> {
    let (mode, body) = input.split_first()?;
    house(|house| {
        let body = house.fill(body);
        match mode {
            b'g' => house.agent_coded(path, key, body, Some("gzip")),
            b'z' => house.agent_coded(path, key, gzip(&body), Some("gzip")),
            _ => house.agent(path, key, body),
        }
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compression in memory");
    encoder.finish().expect("compression in memory")
}
