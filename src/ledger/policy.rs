//! POLICY: settings of the ledger itself, which apply alone may change.
//!
//! Promises: a setting moves only in its own direction, so that a value once seen bounds
//! all later ones; a name that this software does not know is refused, never ignored.
//! Leaves when to ask to the leader (upload epochs) and to the operator (feature level).

use super::apply::FEATURE_LEVEL;
use super::rows::Head;
use muniment_evidence::opening::{Document, PolicyDocument};
use muniment_evidence::record::{Outcome, Reason};

/// Bodies are collected by this counter, one step at a time.
pub const UPLOAD_EPOCH: &str = "upload_epoch";
/// What replicas may apply.
pub const RAISED_LEVEL: &str = "feature_level";

/// Whether bodies of an upload epoch may be named while `present` is in force.
pub fn may_be_named(epoch: u64, present: u64) -> bool {
    epoch <= present && present - epoch <= 1
}

/// Whether no record may name bodies of an upload epoch any more, now or ever.
pub fn is_past(epoch: u64, present: u64) -> bool {
    epoch.saturating_add(2) <= present
}

/// Whether all that it does is to raise the feature level.
pub fn raises_level(policy: &PolicyDocument) -> bool {
    let mut settings = policy.settings.iter();
    !policy.settings.is_empty() && settings.all(|setting| setting.name == RAISED_LEVEL)
}

/// Whether every setting may take its value now.
pub fn judge(head: &Head, policy: &PolicyDocument) -> Outcome {
    let allowed = policy.settings.iter().enumerate().all(|(at, setting)| {
        let earlier = &policy.settings[..at];
        let once = earlier.iter().all(|other| other.name != setting.name);
        let value = setting.value;
        once && match setting.name.as_str() {
            UPLOAD_EPOCH => head.upload_epoch.checked_add(1) == Some(value),
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
pub fn take(head: &mut Head, opening: &[u8]) {
    let Ok(Document::Policy(policy)) = Document::decode(opening) else {
        // It was judged from these very bytes.
        return;
    };
    for setting in policy.settings {
        match setting.name.as_str() {
            UPLOAD_EPOCH => head.upload_epoch = setting.value,
            RAISED_LEVEL => head.feature_level = setting.value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::story::Story;
    use muniment_evidence::opening::Setting;

    fn policy(settings: &[(&str, u64)]) -> PolicyDocument {
        let settings = settings.iter().map(|(name, value)| Setting {
            name: (*name).to_owned(),
            value: *value,
        });
        PolicyDocument {
            settings: settings.collect(),
        }
    }

    #[test]
    fn an_epoch_moves_one_step_and_a_level_up_to_what_is_known() {
        let head = Head {
            upload_epoch: 4,
            feature_level: 1,
            ..Head::default()
        };
        let judged = |settings| judge(&head, &policy(settings)) == Outcome::Ok;
        assert!(judged(&[(UPLOAD_EPOCH, 5)]));
        assert!(judged(&[(RAISED_LEVEL, FEATURE_LEVEL)]));
        assert!(judged(&[(UPLOAD_EPOCH, 5), (RAISED_LEVEL, FEATURE_LEVEL)]));
        for wrong in [
            &[][..],
            &[(UPLOAD_EPOCH, 4)],
            &[(UPLOAD_EPOCH, 6)],
            &[(UPLOAD_EPOCH, 5), (UPLOAD_EPOCH, 6)],
            &[(RAISED_LEVEL, 1)],
            &[(RAISED_LEVEL, FEATURE_LEVEL + 1)],
            &[("colour", 1)],
            &[(UPLOAD_EPOCH, 5), ("colour", 1)],
        ] {
            assert!(!judged(wrong), "{wrong:?}");
        }
        let last = Head {
            upload_epoch: u64::MAX,
            ..head
        };
        let beyond = judge(&last, &policy(&[(UPLOAD_EPOCH, 0)]));
        assert_ne!(beyond, Outcome::Ok);
    }

    #[test]
    fn what_is_past_is_never_named_later() {
        for epoch in 0..6 {
            for seen in 0..6 {
                let later = (seen..10).any(|present| may_be_named(epoch, present));
                assert!(!(is_past(epoch, seen) && later), "{epoch} at {seen}");
            }
        }
        assert!(may_be_named(3, 4) && !is_past(3, 4) && is_past(3, 5));
        assert!(!may_be_named(4, 3), "of an epoch that has not come");
    }

    #[test]
    fn a_policy_takes_effect_where_it_stands() {
        let (mut story, _, mut lane) = Story::booted();
        let before = story.head().upload_epoch;
        let told = [before + 1, before + 1, before + 2].map(|epoch| {
            let document = Document::Policy(policy(&[(UPLOAD_EPOCH, epoch)]));
            lane.write(&story, &document)
        });
        let outcomes = story.outcomes(told.to_vec());
        let refused = Outcome::Refused(Reason::Malformed);
        assert_eq!(outcomes, [Outcome::Ok, refused, Outcome::Ok]);
        assert_eq!(story.head().upload_epoch, before + 2);
    }

    #[test]
    fn below_level_two_only_the_level_itself_can_be_set() {
        let (mut story, _, mut lane) = Story::booted();
        story.set_feature_level(1);
        let epoch = (UPLOAD_EPOCH, story.head().upload_epoch + 1);
        let level = (RAISED_LEVEL, FEATURE_LEVEL);
        let told = [&[epoch][..], &[epoch, level], &[level], &[epoch]];
        let told = told.map(|settings| lane.write(&story, &Document::Policy(policy(settings))));
        let gated = Outcome::Refused(Reason::FeatureLevel);
        assert_eq!(
            story.outcomes(told.to_vec()),
            [gated, gated, Outcome::Ok, Outcome::Ok]
        );
        assert_eq!(story.head().feature_level, FEATURE_LEVEL);
    }
}
