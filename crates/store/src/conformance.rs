//! The conformance suite that every engine passes: one function for each case S1… of docs/protocol/data.md,
//! over `dyn Store` alone.
//!
//! An engine makes its tests with [`conformance_suite!`](crate::conformance_suite), which is told its class, and a
//! [`Bench`], which opens an empty store and can restart it. A case that holds in one class only says so by its name
//! (`transactional_…`, `document_…`). A transactional engine guarantees all that a document engine does, so it runs those
//! cases as well. Engine-specific cases (S21, S22, S26, S27) stand with the engine. Cases that only reach their size in
//! `make torture` take the number of agents.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a suite of tests: it fails by panicking and prints what it measured"
)]

mod actions;
mod agent_files;
mod audit;
mod blobs;
mod checkins;
mod enrollment;
mod feed;
mod keys;
mod lists;
mod operator_keys;
mod policies;
mod population;
pub mod samples;
mod secrets;
mod status;
mod times;
mod uploads;

use std::sync::Arc;

use async_trait::async_trait;

use crate::Store;

pub use actions::*;
pub use agent_files::*;
pub use audit::*;
pub use blobs::*;
pub use checkins::*;
pub use enrollment::*;
pub use feed::*;
pub use keys::*;
pub use lists::*;
pub use operator_keys::*;
pub use policies::*;
pub use secrets::*;
pub use status::*;
pub use times::*;
pub use uploads::*;

/// An engine under test: one store in a place of its own.
#[async_trait]
pub trait Bench: Send {
    /// The store as it is open now.
    fn store(&self) -> Arc<dyn Store>;

    /// Closes the store and opens it again from what is durable.
    async fn restart(&mut self);
}

/// Makes one `#[test]` for each named case, from `$bench` as in [`conformance_suite!`](crate::conformance_suite): for an
/// engine that has not everything yet, or that needs what `make test` does not have. The attribute stands on each.
#[macro_export]
macro_rules! conformance_cases {
    ($bench:path, #[$attribute:meta]: $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[$attribute]
            async fn $case() {
                $crate::conformance::$case(&mut $bench().await).await;
            }
        )+
    };
}

/// Makes one `#[test]` for each case of an engine of `$class` ([`EngineClass`](crate::EngineClass)) from `$bench`, an
/// `async fn() -> impl Bench` that opens an empty store.
#[macro_export]
macro_rules! conformance_suite {
    (Transactional, $bench:path) => {
        $crate::conformance_suite!(@class Transactional, $bench);
        $crate::conformance_suite!(@cases $bench:
            transactional_s02c_nobody_sees_half_a_replacement
            transactional_s03b_a_revoked_key_is_dead_at_once
            transactional_s07b_an_inactive_agent_has_no_living_key
            transactional_o09_a_refused_append_writes_nothing
            transactional_o18_secrets_are_sealed_anew_together
            transactional_o28_entries_are_found_newest_first_until_their_time_is_over
            transactional_o28_an_entry_goes_with_its_change
            transactional_o24_old_revisions_of_a_policy_go
        );
    };
    (Document, $bench:path) => {
        $crate::conformance_suite!(@class Document, $bench);
    };
    (@class $class:ident, $bench:path) => {
        #[tokio::test]
        async fn o26_the_engine_says_its_class() {
            let bench = $bench().await;
            let class = $crate::conformance::Bench::store(&bench).class();
            assert_eq!(class, $crate::EngineClass::$class);
        }
        $crate::conformance_suite!(@cases $bench:
            o_basics_agents_are_found_by_all_their_names
            s01_one_enrollment_id_admits_one_agent
            s02_replacing_kills_the_old_key_in_the_same_unit
            s02b_what_taking_over_keeps
            s03_a_revoked_key_is_dead_within_a_second
            s04_the_newest_checkin_stays
            o04_what_an_opamp_agent_says_stays_with_it
            s05_a_position_never_goes_back
            s06_confirming_after_reassignment_is_refused
            s06b_a_reported_pair_is_stored_only_while_assigned
            s07_unenrolling_kills_all_keys_of_that_agent_only
            s08_parallel_appends_leave_no_hole
            s09_subscribe_append_query_delivers_once
            s10_a_deleted_position_leaves_the_agents_own
            s11_a_result_is_stored_once
            s11b_an_answer_that_is_no_end_is_replaced_by_one_that_is
            s12_a_revision_conflict_names_the_current
            s13_history_is_paged_newest_first
            s14_a_token_revoked_while_enrolling_admits_nobody
            s15_a_body_put_twice_is_harmless_with_other_bytes_refused
            s15b_a_body_that_is_not_as_announced_leaves_nothing
            s15c_of_bodies_put_at_once_one_is_stored
            s15d_chunks_come_in_any_order_and_stay_what_they_are
            s16_a_range_of_a_large_body_in_constant_memory
            s17_lists_with_each_filter_and_sort_are_stable
            s18_counts_agree_with_the_list
            s19_the_feed_misses_and_doubles_nothing_over_a_reconnect
            s19b_the_feed_waits_and_wakes
            s19c_changes_of_a_kind_come_in_the_order_of_commits
            s20_expired_actions_go_in_batches
            s24_json_survives_byte_for_byte
            s25_a_clock_going_backwards_breaks_no_order
            o03_only_the_issued_secret_is_verified
            o06_upgrade_fields_change_together
            o09_marks_and_queue_belong_to_the_append
            o09_what_is_taken_back_is_never_delivered
            document_o09_each_action_is_whole_or_absent
            o10_the_further_of_token_and_position_counts
            o14_deleting_a_policy_revokes_its_tokens
            o16_tokens_are_unique_and_listed_newest_first
            o17_given_keys_are_adopted_once_or_refused_by_name
            o18_a_secret_is_kept_as_it_was_sealed
            o18_secrets_are_sealed_anew
            o18_secrets_of_an_action_come_and_go_with_it
            o20_beginning_again_goes_on_or_begins_anew
            o20_one_file_id_of_two_owners_is_the_first_ones
            o20_an_open_upload_that_is_stale_is_not_gone_on_with
            o20_what_was_announced_counts_in_quotas
            o20_what_was_announced_counts_on_the_disk
            o20_an_agent_has_so_many_uploads_open_and_no_more
            o21_files_for_agents_come_and_go_with_their_bytes
            o24_stale_uploads_expire_and_old_ones_go
            o22_pages_end_where_it_is_said
            o22_the_status_is_the_defined_one
            o26_close_ends_everything
            o17_operators_keys_have_roles_and_ends
            o17_operators_keys_are_listed_newest_first
        );
    };
    (@cases $bench:path: $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$case(&mut $bench().await).await;
            }
        )+
    };
}
