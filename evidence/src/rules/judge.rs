//! Whether what a record says came of it is what the rules make of it.
//!
//! Promises: asked of what took effect, of DUPLICATE_OF, and of refusals of a KEY, whose
//! grounds are public; of other refusals nothing, which had no effect. What was not shown never
//! makes a record *broken*. Leaves the past to [`super::Past`].

use super::{Past, Replayed, decide, refuses_key};
use crate::checks::Check;
use crate::keychange::KeyChange;
use crate::opening::Document;
use crate::record::{Outcome, Reason, Record};
use crate::statement::Kind;

/// Why a rule is neither kept nor broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotJudged {
    /// What came before is not shown.
    Slice,
    /// An opening is not there.
    Withheld,
    /// Members were changing.
    MembersChange,
}

impl NotJudged {
    /// As reports give it.
    pub fn name(self) -> &'static str {
        match self {
            NotJudged::Slice => "SLICE",
            NotJudged::Withheld => "WITHHELD",
            NotJudged::MembersChange => "MEMBERS_CHANGE",
        }
    }
}

/// What a rule says of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    Holds,
    Broken(Check, String),
    NotJudged(NotJudged),
}

/// Kinds about which the past has a say.
fn is_ruled(kind: Kind) -> bool {
    use Kind::{
        AddRendition, BodyLost, Boot, Download, DownloadEnd, Issue, Leader, Reverse, Void, Waiver,
    };
    matches!(
        kind,
        Issue
            | Reverse
            | AddRendition
            | Void
            | Download
            | DownloadEnd
            | Boot
            | Leader
            | BodyLost
            | Waiver
    )
}

impl Replayed<'_> {
    /// Judges a record by what came before; `None` where no rule asks.
    pub fn judge(&self, record: &Record, document: Option<&Document>) -> Option<Ruling> {
        let kind = record.statement.kind;
        let grounds = [Reason::KeySerial, Reason::KeyChange, Reason::KeyEndorsement];
        match record.outcome {
            Outcome::Refused(reason) if kind == Kind::Key && grounds.contains(&reason) => {
                Some(self.refused_key(record, document, reason))
            }
            Outcome::Refused(_) => None,
            Outcome::Ok if kind == Kind::Key => self.retires_in_time(document),
            _ if !is_ruled(kind) => None,
            _ => Some(self.took_effect(record, document)),
        }
    }

    fn took_effect(&self, record: &Record, document: Option<&Document>) -> Ruling {
        let Some(document) = document else {
            return Ruling::NotJudged(NotJudged::Withheld);
        };
        self.memory.take_guessed();
        let decided = match decide(self, &record.statement, document, record.place()) {
            Ok(decided) => decided,
            Err(why) => return Ruling::NotJudged(why),
        };
        let guessed = self.memory.take_guessed();
        match (record.outcome, decided) {
            (said, decided) if said == decided => match guessed {
                true => Ruling::NotJudged(self.memory.gap()),
                false => Ruling::Holds,
            },
            // It may repeat what was not shown.
            (Outcome::DuplicateOf(_), _) if guessed => Ruling::NotJudged(self.memory.gap()),
            (Outcome::DuplicateOf(of), decided) => broken(
                Check::DuplicateRepeats,
                format!("says DUPLICATE_OF {of}, and should be {}", words(decided)),
            ),
            (_, decided) => broken(
                check_of(record.statement.kind, decided),
                format!("took effect, and should be {}", words(decided)),
            ),
        }
    }

    fn refused_key(&self, record: &Record, document: Option<&Document>, said: Reason) -> Ruling {
        let Some(Document::Key(document)) = document else {
            return Ruling::NotJudged(NotJudged::Withheld);
        };
        match refuses_key(self, document, record.place()) {
            Err(why) => Ruling::NotJudged(why),
            Ok(Some(reason)) if reason == said => Ruling::Holds,
            Ok(decided) => {
                let decided = decided.map_or(Outcome::Ok, Outcome::Refused);
                let detail = format!(
                    "is refused ({}), and should be {}",
                    said.name(),
                    words(decided)
                );
                broken(Check::KeyRefusedRightly, detail)
            }
        }
    }

    /// The rest of a KEY that took effect was asked where it was taken.
    fn retires_in_time(&self, document: Option<&Document>) -> Option<Ruling> {
        let Some(Document::Key(document)) = document else {
            return None;
        };
        let last = document
            .changes
            .iter()
            .filter_map(KeyChange::last_epoch)
            .max()?;
        Some(match self.upload_epoch() {
            Err(why) => Ruling::NotJudged(why),
            Ok(present) if last <= present => Ruling::Holds,
            Ok(present) => broken(
                Check::KeyRefusedRightly,
                format!("retires a key by the upload epoch {last}, and {present} is the present"),
            ),
        })
    }
}

fn broken(check: Check, detail: String) -> Ruling {
    match check.is_asked() {
        true => Ruling::Broken(check, detail),
        false => Ruling::Holds,
    }
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => "OK".to_owned(),
        Outcome::Refused(reason) => format!("REFUSED ({})", reason.name()),
        Outcome::DuplicateOf(of) => format!("DUPLICATE_OF {of}"),
    }
}

/// The check that fails where a record took effect and this should have come of it.
fn check_of(kind: Kind, decided: Outcome) -> Check {
    let reason = match decided {
        Outcome::Refused(reason) => reason,
        Outcome::Ok | Outcome::DuplicateOf(_) => return Check::IssuedOnce,
    };
    match (kind, reason) {
        (Kind::Boot, _) => Check::BootOfSameDisk,
        (Kind::Download, Reason::Malformed) => Check::DownloadRange,
        (Kind::Leader, _) => Check::LeaderOncePerTerm,
        (Kind::DownloadEnd, _) => Check::EndWithinDownload,
        (Kind::BodyLost, _) => Check::LostOnce,
        (Kind::Waiver, _) => Check::WaivedOnce,
        (_, Reason::NotFound) => Check::OfAnInvoice,
        (_, Reason::HoldingsInsufficient) => Check::HoldingsMeetLevel,
        (
            Kind::Reverse,
            Reason::ReversalExceeds
            | Reason::AmountExponent
            | Reason::NotReversible
            | Reason::AlreadyVoid
            | Reason::LimitReached,
        )
        | (Kind::Void, Reason::NotReversible | Reason::AlreadyVoid | Reason::AlreadyReversed) => {
            Check::TakenBackOnce
        }
        _ => Check::IssuedOnce,
    }
}
