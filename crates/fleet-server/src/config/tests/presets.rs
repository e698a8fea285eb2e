use std::time::Duration;

use super::{given, *};
use crate::config::limits::{InFlight, Rate};

fn limits(yaml: &str) -> limits::Limits {
    given(yaml).config().inputs.input.server.limits
}

fn rate(micros: u64, burst: u32) -> Option<Rate> {
    Some(Rate {
        interval: Duration::from_micros(micros),
        burst,
    })
}

#[test]
fn cfg_03_a_fleet_of_2500() {
    let limits = limits("inputs.0.server.limits.max_agents: 2500");
    assert_eq!(limits.checkin_limit.rate(), rate(5_000, 500));
    assert_eq!(limits.checkin_limit.in_flight(), InFlight::AtMost(2_500));
    assert_eq!(limits.connections(), Some(7_000));
    assert_eq!(limits.hard_connections(), Some(7_700));
    assert_eq!(limits.checkin_limit.body_limit(), Some(1 << 20));
    assert_eq!(limits.checkin_limit.decompressed_limit(), Some(20_971_520));
}

#[test]
fn cfg_04_what_the_operator_says_counts() {
    let limits = limits("inputs.0.server.limits: {max_agents: 2500, action_limit.interval: 1ms}");
    assert_eq!(limits.action_limit.rate(), rate(1_000, 1));
}

#[test]
fn cfg_05_the_preset_follows_the_fleet() {
    let connections =
        |agents: i64| limits(&format!("inputs.0.server.limits.max_agents: {agents}")).connections();
    assert_eq!(connections(512), Some(3_000));
    assert_eq!(connections(10_000), Some(22_000));
    assert_eq!(connections(40_001), None);
    let built_in = limits("inputs.0.server.limits.max_agents: -1");
    assert_eq!(built_in.checkin_limit.rate(), rate(1_000, 1_000));
    assert_eq!(built_in.checkin_limit.in_flight(), InFlight::Unlimited);
    assert_eq!(built_in.action_limit.rate(), None);
}

#[test]
fn cfg_07_memory_chooses_when_nobody_does() {
    assert_eq!(limits("").enroll_limit.in_flight(), InFlight::AtMost(100));
    let by_memory = |mib| {
        given("")
            .memory(mib)
            .config()
            .inputs
            .input
            .server
            .limits
            .connections()
    };
    assert_eq!(by_memory(128), None);
    assert_eq!(by_memory(300), Some(1_500));
    assert_eq!(by_memory(9_000), Some(42_000));
    let told = given("inputs.0.server.runtime.memory_limit: 1073741824")
        .memory(64)
        .config();
    assert_eq!(told.server().limits.connections(), Some(7_000));
}

#[test]
fn negative_numbers_switch_off_or_refuse() {
    let limits = limits(
        "inputs.0.server.limits: {status_limit: {interval: -1s, max: -1}, enroll_limit.max_body_byte_size: -1, max_connections: -1, max_agents: 100}",
    );
    assert_eq!(limits.status_limit.rate(), None);
    assert_eq!(limits.status_limit.in_flight(), InFlight::None);
    assert_eq!(limits.enroll_limit.body_limit(), None);
    assert_eq!(limits.connections(), None);
}

#[test]
fn too_little_memory_for_the_fleet_is_a_notice() {
    let notices = given("inputs.0.server.limits.max_agents: 20000")
        .memory(1_000)
        .notices();
    assert!(
        notices
            .iter()
            .any(|notice| notice.contains("8096 MiB") && notice.contains("1000 MiB")),
        "{notices:?}"
    );
}
