//! Openings of a submission: which of them are kept, and whether they can be read.
//!
//! Promises: an opening is kept only if the statement commits to it and evidence has room
//! for it, so that no record ever shows one that a verifier must refuse; what is above the
//! ledger's feature level is refused before a byte of it is decoded, so that software which
//! knows it and software which does not say the same; what is read is within its limits
//! ([`muniment_evidence::limits`]). Leaves what the content means to the kinds.
//!
//! Tests: `src/ledger/tests/arbitrary_tests.rs`, `src/ledger/tests/scenario_tests.rs`.

use super::policy;
use super::rows::LedgerHead;
use crate::domain::command::Submission;
use muniment_evidence::opening::{
    Actor, AnchoredBy, Document, HoldingKind, Opening, PUBLIC_SALT, commit_actor, commit_document,
};
use muniment_evidence::receipt::OPENING_BYTES_MAX;
use muniment_evidence::record::Reason;
use muniment_evidence::statement::{Kind, Lane, Mode, Statement};

/// The openings that the statement commits to, and that evidence has room for.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub document: Option<&'a Opening>,
    pub actor: Option<&'a Opening>,
}

impl<'a> Shown<'a> {
    /// Of what is above the level nothing is known, not even whether it is public: other
    /// software may know, and must keep the same.
    pub fn of(submission: &'a Submission, head: &LedgerHead) -> Shown<'a> {
        let statement = &submission.statement;
        let (document, actor) = (&submission.document, &submission.actor);
        let fits = |opening: &Opening| opening.bytes.len() <= OPENING_BYTES_MAX;
        let public = !statement.kind.is_system()
            || is_above(head, statement.kind)
            || document.salt == PUBLIC_SALT;
        let of_document = || commit_document(&document.salt, &document.bytes);
        let of_actor = || commit_actor(&actor.salt, &actor.bytes);
        Shown {
            document: (fits(document) && public && of_document() == statement.document)
                .then_some(document),
            actor: (fits(actor) && of_actor() == statement.actor).then_some(actor),
        }
    }
}

/// What the statement says, or why it cannot be looked at.
pub(super) fn readable(
    head: &LedgerHead,
    statement: &Statement,
    shown: Shown<'_>,
) -> Result<Document, Reason> {
    if is_above(head, statement.kind) {
        return Err(Reason::FeatureLevel);
    }
    let (Some(document), Some(actor)) = (shown.document, shown.actor) else {
        return Err(Reason::Malformed);
    };
    let versions = [document, actor].map(|opening| opening.bytes.first().copied());
    if versions.iter().flatten().any(|version| is_later(*version)) {
        return Err(Reason::FeatureLevel);
    }
    let Ok(content) = Document::decode(&document.bytes) else {
        return Err(Reason::Malformed);
    };
    let Ok(actor) = Actor::decode(&actor.bytes) else {
        return Err(Reason::Malformed);
    };
    if is_later_part(&content) {
        return Err(Reason::FeatureLevel);
    }
    let within = content.within_limits().is_ok() && actor.within_limits().is_ok();
    match within && content.kind() == statement.kind && is_in_its_lane(statement) {
        true => Ok(content),
        false => Err(Reason::Malformed),
    }
}

/// Parts whose bytes the format has, and whose meaning a later level brings: holdings in a store,
/// and time stamps.
fn is_later_part(content: &Document) -> bool {
    match content {
        Document::Anchor(d) => !matches!(d.by, AnchoredBy::Witness(_)),
        content => {
            let mut holdings = content.holdings().iter();
            holdings.any(|holding| holding.kind != HoldingKind::Node)
        }
    }
}

/// Whether a kind came after the ledger's level. GENESIS stands before there is one.
fn is_above(head: &LedgerHead, kind: Kind) -> bool {
    kind != Kind::Genesis && !policy::has_come(kind, head.feature_level)
}

/// Whether openings of this version came after feature level 1, which has version 1 alone. The
/// level that brings the next one looks at the ledger's here.
fn is_later(version: u8) -> bool {
    version > 1
}

/// Boots have a lane of their own, and an outbox has deferred downloads alone.
fn is_in_its_lane(statement: &Statement) -> bool {
    match (statement.kind, statement.lane) {
        (Kind::Genesis | Kind::Boot, lane) => lane == Lane::Boot,
        (_, Lane::Boot) => false,
        (_, Lane::Strict(_)) => true,
        (kind, Lane::Outbox(_)) => kind == Kind::Download && statement.mode == Mode::Deferred,
    }
}
