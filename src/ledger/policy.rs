//! POLICY: settings of the ledger itself, which apply alone may change.
//!
//! Promises: a setting moves only in its own direction, so that a value once seen bounds
//! all later ones; a name that this software does not know is refused, never ignored; a level
//! that it does not know, wherever it comes from, is not gone on with.
//! Leaves when to ask to the leader (upload epochs) and to the operator (feature level), and
//! who may ask to [`super::orders`].

use super::rows::LedgerHead;
use crate::domain::ids::UploadEpoch;
use crate::store::StoreError;
use muniment_evidence::limits::UPLOAD_EPOCH_MS_MIN;
use muniment_evidence::opening::{Document, PolicyDocument};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Kind;

/// The feature level of this software: what it can apply. What a later version adds is
/// gated by the level in replicated state, so that replicas of two versions stay equal. Level 2
/// has CONFIG.
pub const FEATURE_LEVEL: u64 = 2;

/// The level of a ledger whose founder named none.
pub const FIRST_LEVEL: u64 = 1;

pub fn is_known_level(level: u64) -> bool {
    (FIRST_LEVEL..=FEATURE_LEVEL).contains(&level)
}

/// Whether a ledger at this level takes statements of the kind; of a kind that this software has
/// no level for, none does.
pub fn has_come(kind: Kind, level: u64) -> bool {
    kind.first_level().is_some_and(|first| first <= level)
}

/// Refuses a ledger that has left this software behind: whoever applies its records by fewer
/// rules than they were written by writes another history.
pub fn is_known(head: &LedgerHead) -> Result<(), StoreError> {
    let level = head.feature_level;
    if level <= FEATURE_LEVEL {
        return Ok(());
    }
    Err(StoreError::newer(format!(
        "the ledger is at feature level {level}, and this software knows levels up to \
         {FEATURE_LEVEL}: start a version that knows {level}, as the other nodes run it \
         (`muniment cluster status` names their versions); a level is never lowered"
    )))
}

/// Bodies are collected by this counter, one step at a time.
pub use muniment_evidence::system::UPLOAD_EPOCH;
/// What replicas may apply.
pub const RAISED_LEVEL: &str = "feature_level";

/// Whether bodies of an upload epoch may be named.
pub use muniment_evidence::rules::may_be_named;

/// Whether no record may name bodies of an upload epoch any more, now or ever.
pub fn is_past(epoch: UploadEpoch, present: UploadEpoch) -> bool {
    epoch.next().next() <= present
}

/// Whether every setting may take its value now.
pub fn decide(head: &LedgerHead, policy: &PolicyDocument, now_ms: u64) -> Outcome {
    let names = |name| policy.settings.iter().any(|setting| setting.name == name);
    let lasted_ms = now_ms.saturating_sub(head.epoch_moved_at_ms);
    if names(UPLOAD_EPOCH) && lasted_ms < UPLOAD_EPOCH_MS_MIN {
        return Outcome::Refused(Reason::NotDue);
    }
    let allowed = policy.settings.iter().enumerate().all(|(at, setting)| {
        let mut earlier = policy.settings.iter().take(at);
        let once = earlier.all(|other| other.name != setting.name);
        let value = setting.value;
        once && match setting.name.as_str() {
            UPLOAD_EPOCH => head.upload_epoch.get().checked_add(1) == Some(value),
            RAISED_LEVEL => value > head.feature_level && value <= FEATURE_LEVEL,
            _ => false,
        }
    });
    if allowed && !policy.settings.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Refused(Reason::Malformed)
    }
}

/// Gives the settings of an OK POLICY their values.
pub fn take(head: &mut LedgerHead, opening: &[u8], now_ms: u64) {
    let Ok(Document::Policy(policy)) = Document::decode(opening) else {
        // It was decided upon by these very bytes.
        return;
    };
    for setting in policy.settings {
        match setting.name.as_str() {
            UPLOAD_EPOCH => {
                head.upload_epoch = UploadEpoch::new(setting.value);
                head.epoch_moved_at_ms = now_ms;
            }
            RAISED_LEVEL => head.feature_level = setting.value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::TestLedger;
    use muniment_evidence::opening::Setting;

    fn policy(settings: &[(&str, u64)]) -> PolicyDocument {
        let settings = settings.iter().map(|(name, value)| Setting {
            name: (*name).to_owned(),
            value: *value,
        });
        PolicyDocument {
            settings: settings.collect(),
            order: None,
        }
    }

    #[test]
    fn an_epoch_moves_one_step_and_a_level_up_to_what_is_known() {
        let head = LedgerHead {
            upload_epoch: UploadEpoch::new(4),
            feature_level: 0,
            ..LedgerHead::default()
        };
        let now_ms = UPLOAD_EPOCH_MS_MIN;
        let decided = |settings| decide(&head, &policy(settings), now_ms) == Outcome::Ok;
        assert!(decided(&[(UPLOAD_EPOCH, 5)]));
        assert!(decided(&[(RAISED_LEVEL, FEATURE_LEVEL)]));
        assert!(decided(&[(UPLOAD_EPOCH, 5), (RAISED_LEVEL, FEATURE_LEVEL)]));
        for wrong in [
            &[][..],
            &[(UPLOAD_EPOCH, 4)],
            &[(UPLOAD_EPOCH, 6)],
            &[(UPLOAD_EPOCH, 5), (UPLOAD_EPOCH, 6)],
            &[(RAISED_LEVEL, 0)],
            &[(RAISED_LEVEL, FEATURE_LEVEL + 1)],
            &[("colour", 1)],
            &[(UPLOAD_EPOCH, 5), ("colour", 1)],
        ] {
            assert!(!decided(wrong), "{wrong:?}");
        }
        let last = LedgerHead {
            upload_epoch: UploadEpoch::new(u64::MAX),
            ..head
        };
        let beyond = decide(&last, &policy(&[(UPLOAD_EPOCH, 0)]), now_ms);
        assert_ne!(beyond, Outcome::Ok);
    }

    #[test]
    fn what_is_past_is_never_named_later() {
        for epoch in 0..6 {
            for seen in 0..6 {
                let later = (seen..10).any(|present| {
                    may_be_named(UploadEpoch::new(epoch), UploadEpoch::new(present))
                });
                assert!(
                    !(is_past(UploadEpoch::new(epoch), UploadEpoch::new(seen)) && later),
                    "{epoch} at {seen}"
                );
            }
        }
        assert!(
            may_be_named(UploadEpoch::new(3), UploadEpoch::new(4))
                && !is_past(UploadEpoch::new(3), UploadEpoch::new(4))
                && is_past(UploadEpoch::new(3), UploadEpoch::new(5))
        );
        assert!(
            !may_be_named(UploadEpoch::new(4), UploadEpoch::new(3)),
            "of an epoch that has not come"
        );
    }

    /// One member alone cannot run through the epochs, which would turn every holding under way
    /// into one of the past.
    #[test]
    fn epochs_last_their_time() {
        let head = LedgerHead {
            upload_epoch: UploadEpoch::new(4),
            epoch_moved_at_ms: 1_000,
            ..LedgerHead::default()
        };
        let next = policy(&[(UPLOAD_EPOCH, 5)]);
        let due_ms = 1_000 + UPLOAD_EPOCH_MS_MIN;
        let refused = Outcome::Refused;
        for (now_ms, decided) in [
            (due_ms, Outcome::Ok),
            (due_ms - 1, refused(Reason::NotDue)),
            (0, refused(Reason::NotDue)),
        ] {
            assert_eq!(decide(&head, &next, now_ms), decided);
        }
    }

    #[test]
    fn a_policy_takes_effect_where_it_stands() {
        let (mut ledger, mut lane) = TestLedger::voting();
        let before = ledger.head().upload_epoch;
        let third = UploadEpoch::new(before.get() + 2);
        let mut ask = |epoch: UploadEpoch, at_ms| {
            let document = Document::Policy(policy(&[(UPLOAD_EPOCH, epoch.get())]));
            let said = lane.write(&ledger, &document);
            ledger.apply(at_ms, vec![said]);
            ledger.head().upload_epoch
        };
        assert_eq!(ask(before.next(), UPLOAD_EPOCH_MS_MIN), before.next());
        assert_eq!(ask(third, 2 * UPLOAD_EPOCH_MS_MIN - 1), before.next());
        assert_eq!(ask(before.next(), 2 * UPLOAD_EPOCH_MS_MIN), before.next());
        assert_eq!(ask(third, 2 * UPLOAD_EPOCH_MS_MIN), third);
    }
}
