//! The store against a real Elasticsearch: the conformance suite of the document class, and what is its own.
//!
//! `make elastic-check` starts the one under `engine/` and names it in the environment. The cases share its indices, which
//! have fixed names: each waits for the one before, empties them and has them to itself.

mod cluster;
mod connection;
mod shared;

use std::sync::Arc;

use async_trait::async_trait;
use store::{Engine as _, Store, conformance::Bench};
use tokio::sync::MutexGuard;

use cluster::Cluster;

use super::{ElasticStore, Flush};

/// The cluster with empty indices, and a store on it.
struct Emptied {
    cluster: Cluster,
    store: Arc<ElasticStore>,
    _alone: MutexGuard<'static, ()>,
}

async fn bench() -> Emptied {
    let alone = cluster::alone().await;
    let cluster = Cluster::named();
    cluster.empty().await;
    Emptied {
        store: start(&cluster).await,
        cluster,
        _alone: alone,
    }
}

async fn start(cluster: &Cluster) -> Arc<ElasticStore> {
    let flush = Flush {
        after: std::time::Duration::from_millis(2),
        ..Flush::default()
    };
    Arc::new(ElasticStore::start(cluster.connect_as_server().await, flush))
}

#[async_trait]
impl Bench for Emptied {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn restart(&mut self) {
        self.store.close().await.unwrap();
        self.store = start(&self.cluster).await;
    }
}

/// An address where nobody listens.
fn nobody() -> reqwest::Url {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    format!("https://{address}").parse().unwrap()
}

mod conformance {
    store::conformance_cases!(super::bench, #[ignore = "needs make elastic-check"]:
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
        s19_the_feed_misses_and_doubles_nothing_over_a_reconnect
        s19b_the_feed_waits_and_wakes
        s19c_changes_of_a_kind_come_in_the_order_of_commits
        s20_expired_actions_go_in_batches
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
        o22_pages_end_where_it_is_said
        o22_the_status_is_the_defined_one
        o26_close_ends_everything
    );
}
