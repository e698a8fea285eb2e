use super::{given, *};

fn limits(yaml: &str) -> crate::limits::Limits {
    given(yaml).config().inputs.0.server.limits
}

fn rate(limits: &crate::limits::Limits, limit: Limit) -> Option<(u128, u32)> {
    let numbers = limits.of(limit);
    Some((numbers.interval?.as_micros(), numbers.burst))
}

#[test]
fn cfg_03_a_fleet_of_2500() {
    let limits = limits("inputs.0.server.limits.max_agents: 2500");
    assert_eq!(rate(&limits, Limit::Checkin), Some((5_000, 500)));
    assert_eq!(limits.of(Limit::Checkin).in_flight, Some(2_500));
    assert_eq!(limits.connections(), Some(7_000));
    assert_eq!(limits.of(Limit::Checkin).body, Some(1 << 20));
    assert_eq!(limits.of(Limit::Checkin).decompressed, Some(20_971_520));
}

#[test]
fn cfg_04_what_the_operator_says_counts() {
    let limits = limits("inputs.0.server.limits: {max_agents: 2500, action_limit.interval: 1ms}");
    assert_eq!(rate(&limits, Limit::Action), Some((1_000, 1)));
}

#[test]
fn cfg_05_the_preset_follows_the_fleet() {
    let connections =
        |agents: i64| limits(&format!("inputs.0.server.limits.max_agents: {agents}")).connections();
    assert_eq!(connections(512), Some(3_000));
    assert_eq!(connections(10_000), Some(22_000));
    assert_eq!(connections(40_001), None);
    let built_in = limits("inputs.0.server.limits.max_agents: -1");
    assert_eq!(rate(&built_in, Limit::Checkin), Some((1_000, 1_000)));
    assert_eq!(built_in.of(Limit::Checkin).in_flight, None);
    assert_eq!(rate(&built_in, Limit::Action), None);
}

#[test]
fn cfg_07_memory_chooses_when_nobody_does() {
    assert_eq!(limits("").of(Limit::Enroll).in_flight, Some(100));
    let by_memory = |mib| {
        given("")
            .memory(mib)
            .config()
            .inputs
            .0
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
    assert_eq!(rate(&limits, Limit::Status), None);
    assert_eq!(limits.of(Limit::Status).in_flight, Some(0));
    assert_eq!(limits.of(Limit::Enroll).body, None);
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
