//! S25: the clock going backwards.

use super::{Bench, samples::*};
use crate::{AgentId, CheckinRecord, PolicyId};

/// S25: sequences, positions, revisions and the feed follow commits, not the clock; times are stored as given
/// (M9).
pub async fn s25_a_clock_going_backwards_breaks_no_order(bench: &mut impl Bench) {
    let mut sequence = 0;
    let mut change = 0;
    for (n, seconds) in [1000_i64, 500, -500, -1000].into_iter().enumerate() {
        let store = bench.store();
        let n = i64::try_from(n).unwrap();
        let mut enrollment = enrollment(&format!("a{n}"), "p");
        enrollment.agent.at = at(seconds);
        assert_eq!(store.enroll(enrollment).await.unwrap().enrolled_at, at(seconds));
        let mut one = action(&format!("d{n}"), &["a0"]);
        one.at = at(seconds);
        let given = store.append_actions(vec![one]).await.unwrap()[0];
        assert!(given > sequence);
        sequence = given;
        let mut new = revision("p");
        new.at = at(seconds);
        let stored = store
            .append_policy_revision((n > 0).then_some(n), new)
            .await
            .unwrap();
        assert_eq!((stored.revision, stored.at), (n + 1, at(seconds)));
        let (first, p) = (AgentId::from("a0"), PolicyId::from("p"));
        assert!(
            store
                .confirm_policy(&first, &p, n + 1, at(seconds))
                .await
                .unwrap()
        );
        let record = CheckinRecord {
            position: Some(given),
            ..checkin("a0", at(seconds))
        };
        store.record_checkins(vec![record]).await.unwrap();
        let stored = agent(&*store, "a0").await;
        assert_eq!(
            (stored.action_position, stored.policy_revision),
            (Some(given), Some(n + 1))
        );
        assert_eq!(stored.last_checkin, Some(at(1000)));
        let last = store.last_change().await.unwrap();
        assert!(last > change);
        change = last;
        bench.restart().await;
    }
    let page = bench
        .store()
        .policy_history(&PolicyId::from("p"), all())
        .await
        .unwrap();
    assert_eq!(
        page.items.iter().map(|one| one.revision).collect::<Vec<_>>(),
        [4, 3, 2, 1]
    );
}
