//! `config show --limits`: every number with where it comes from.

use super::given;
use crate::limits_shown;

#[test]
fn every_limit_is_shown_with_where_it_comes_from() {
    let given = given(concat!(
        "inputs.0.server.limits:\n",
        "  max_agents: 2500\n",
        "  checkin_limit.interval: 1ms\n",
        "  ack_limit: {max: \"${ACKS}\"}\n",
        "  max_header_byte_size: 0\n",
        "  enroll_limit: {interval: 0s, burst: 9}\n",
        "files:\n",
        "  max_total_size: ${TOTAL}\n",
        "  max_agent_size: 0\n",
    ))
    .environment(&[("ACKS", "7"), ("TOTAL", "1GiB")])
    .flag("files.max_open_uploads=3")
    .flag("inputs.0.server.limits.max_file_storage_size=5")
    .memory(4096);
    let directory = given.sources.files[0].parent().unwrap().display().to_string();
    let rows: Vec<String> = limits_shown(&given.sources)
        .unwrap()
        .iter()
        .map(|row| {
            let origin = row.origin.replace(&directory, "DIR");
            format!("{} {} {origin}", row.key, row.value)
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
}
