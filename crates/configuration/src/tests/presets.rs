use super::{given, *};

fn limits(yaml: &str) -> crate::limits::Limits {
    given(yaml).config().inputs.0.server.limits
}

fn rate(limits: &crate::limits::Limits, limit: Limit) -> Option<(u128, u32)> {
    let numbers = limits.of(limit);
    Some((numbers.interval?.as_micros(), numbers.burst))
}

#[test]
fn cfg_03_a_fleet_of_2500_has_caps_and_no_rates() {
    let limits = limits("inputs.0.server.limits.max_agents: 2500");
    assert_eq!(limits.connections(), Some(7_000));
    assert_eq!(limits.of(Limit::Enroll).in_flight, Some(100));
    assert_eq!(limits.of(Limit::Ack).in_flight, Some(1_000));
    for limit in [Limit::Checkin, Limit::Enroll, Limit::Ack, Limit::Policy] {
        assert_eq!(rate(&limits, limit), None, "{limit:?}");
    }
    let checkin = limits.of(Limit::Checkin);
    assert_eq!(checkin.in_flight, None, "an enrolled agent is never one too many");
    assert_eq!(
        (checkin.body, checkin.decompressed),
        (Some(1 << 20), Some(20_971_520))
    );
}

#[test]
fn cfg_04_what_the_operator_says_counts_and_is_completed_as_in_the_original() {
    let with = |keys: &str| limits(&format!("inputs.0.server.limits: {{{keys}}}"));
    let pace = with("max_agents: 2500, action_limit.interval: 1ms");
    assert_eq!(rate(&pace, Limit::Action), Some((1_000, 1)));
    let interval = with("max_agents: 2500, checkin_limit.interval: 1ms");
    assert_eq!(rate(&interval, Limit::Checkin), Some((1_000, 500)));
    let burst = with("max_agents: -1, checkin_limit.burst: 7");
    assert_eq!(rate(&burst, Limit::Checkin), Some((1_000, 7)));
    let cap = with("checkin_limit.max: 3");
    assert_eq!(
        (rate(&cap, Limit::Checkin), cap.of(Limit::Checkin).in_flight),
        (None, Some(3))
    );
}

#[test]
fn cfg_05_caps_follow_the_fleet() {
    let connections =
        |agents: i64| limits(&format!("inputs.0.server.limits.max_agents: {agents}")).connections();
    assert_eq!(connections(512), Some(3_000));
    assert_eq!(connections(10_000), Some(22_000));
    assert_eq!(connections(40_001), None);
    assert_eq!(connections(-1), None);
}

#[test]
fn cfg_07_memory_is_no_limit_of_requests() {
    for memory in [128, 300, 9_000] {
        let limits = given("").memory(memory).config().inputs.0.server.limits;
        assert_eq!(limits.connections(), None);
        assert_eq!(
            (rate(&limits, Limit::Enroll), limits.of(Limit::Enroll).in_flight),
            (None, None)
        );
        assert_eq!(
            limits.of(Limit::Enroll).body,
            Some(524_288),
            "memory is bounded by bytes"
        );
    }
    let limits = given("inputs.0.server.limits.checkin_limit.interval: 1ms")
        .memory(9_000)
        .config()
        .inputs
        .0
        .server
        .limits;
    assert_eq!(
        rate(&limits, Limit::Checkin),
        Some((1_000, 4_000)),
        "the rest of a bucket"
    );
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
