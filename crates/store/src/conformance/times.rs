//! S25: the clock going backwards.

use std::time::Duration;

use super::{Bench, samples::*};
use crate::{AgentId, ChangeKind, CheckinRecord, PolicyId, Position};

/// S25: sequences, positions, revisions and the feed follow commits, not the clock; times are stored as given
/// (M9).
pub async fn s25_a_clock_going_backwards_breaks_no_order(bench: &mut impl Bench) {
    let mut position: Option<Position> = None;
    let mut heard = bench.store().last_change(ChangeKind::Action).await.unwrap();
    for (n, seconds) in [1000_i64, 500, -500, -1000].into_iter().enumerate() {
        let store = bench.store();
        let n = i64::try_from(n).unwrap();
        let mut enrollment = enrollment(&format!("a{n}"), "p");
        enrollment.agent.at = at(seconds);
        let enrolled = store.enroll(enrollment).await.unwrap();
        assert_eq!(enrolled.agent.enrolled_at, at(seconds));
        let (first, p) = (AgentId::from("a0"), PolicyId::from("p"));
        let doc = format!("d{n}");
        let mut one = action(&doc, &["a0"]);
        one.at = at(seconds);
        store.append_actions(vec![one]).await.unwrap();
        // After everything before, although its clock is behind.
        let pending = store
            .pending_actions(&first, None, position.as_ref(), at(seconds), 10)
            .await
            .unwrap();
        assert_eq!(docs(&pending), [doc.as_str()]);
        let confirmed = store
            .pending_actions(
                &first,
                Some(&doc.as_str().into()),
                position.as_ref(),
                at(seconds),
                10,
            )
            .await
            .unwrap();
        assert_eq!(docs(&confirmed), [""; 0]);
        position = confirmed.position;
        let mut new = revision("p");
        new.at = at(seconds);
        let stored = store
            .append_policy_revision((n > 0).then_some(n), new)
            .await
            .unwrap();
        assert_eq!((stored.revision, stored.at), (n + 1, at(seconds)));
        assert!(
            store
                .confirm_policy(&first, &p, n + 1, at(seconds))
                .await
                .unwrap()
        );
        let record = CheckinRecord {
            positions: position.clone().into_iter().collect(),
            ..checkin("a0", at(seconds))
        };
        store.record_checkins(vec![record]).await.unwrap();
        let stored = agent(&*store, "a0").await;
        assert_eq!(
            (stored.action_position, stored.policy_revision),
            (position.clone(), Some(n + 1))
        );
        assert_eq!(stored.last_checkin, Some(at(1000)));
        let changes = store
            .changes(ChangeKind::Action, &heard, 10, Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(changes.ids, [doc]);
        heard = changes.next;
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
