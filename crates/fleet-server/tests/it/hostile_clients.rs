//! Hostile clients against the real binary, a minute each: a thousand agents wait meanwhile, and honest clients ask.
//!
//! Each test is one attack and prints one line: what it cost the server, and what the others saw. It fails when one of
//! the others sees an error or waits for more than a second. Part of `make torture`; one alone, for a while:
//!
//! ```sh
//! HOSTILE_SECONDS=10 cargo test --release -p fleet-server --test it -- --ignored --nocapture hostile_clients::frames
//! ```
//! `HOSTILE_SERVER=PROGRAM` attacks another build, for figures before and after.

mod bodies;
mod frames;
mod requests;
mod siege;

use siege::besiege;

macro_rules! attacks {
    ($($name:ident: $attack:path;)*) => {
        $(#[test]
        #[ignore = "torture: make torture"]
        fn $name() {
            besiege(stringify!($name), $attack);
        })*
    };
}

attacks! {
    frames_without_payload: frames::empty_data;
    frames_of_control: frames::control;
    answers_that_nobody_reads_on_http2: frames::unread_answers;
    pipelined_requests_whose_answers_nobody_reads: requests::unread_answers;
    early_bytes_behind_a_poll_of_a_client_that_goes: requests::early_bytes;
    unknown_paths: requests::unknown_paths;
    refused_requests_on_one_connection: requests::refused;
    a_stranger_who_takes_all_he_can: requests::stranger;
    an_agent_that_takes_all_it_can: requests::greedy_agent;
    connections_that_are_used_every_few_seconds: requests::kept_open;
    handshakes_that_stall: requests::stalled_handshakes;
    fields_without_bounds: bodies::large_fields;
    bodies_that_stall: bodies::stalled;
    enrolments_that_derive_keys: bodies::replacements;
}
