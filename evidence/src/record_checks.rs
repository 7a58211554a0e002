//! The checks of one record by itself: ledger, key, signature, openings, holdings.
//!
//! Promises: each check is pure and independent of every other record, so that records
//! can be checked on all cores. An opening is handed on only when the record commits to
//! it. Leaves what one record means for the next to [`crate::chain`].
//!
//! Tests: `evidence/tests/tamper.rs`, `evidence/tests/receipts.rs`.

use crate::checks::Check;
use crate::digest::Digest;
use crate::endorsement::willed;
use crate::ids::RecordIndex;
use crate::key::PublicKey;
use crate::keys::{KeyLife, KeyValidity};
use crate::ledger::Ledger;
use crate::limits::UnfitField;
use crate::opening::{
    Actor, Document, Holding, Opening, PUBLIC_SALT, PlannedDocument, Rendition, Setting,
    commit_actor, commit_document,
};
use crate::record::{Outcome, Reason, Record};
use crate::rules::first_unfit;
use crate::statement::{Kind, Lane, Mode};
use crate::system::{CRITICAL_LEVEL, FEATURE_LEVEL};

/// What fails and what to say of it; the index is added by the caller.
pub(crate) type Fault = (Check, String);

/// What the openings of a record showed.
#[derive(Default)]
pub(crate) struct Opened {
    /// Only when the record commits to it.
    pub document: Option<Document>,
    /// Only when the record commits to it.
    pub actor: Option<Actor>,
    pub faults: Vec<Fault>,
}

/// Whether the statement belongs to this ledger. GENESIS names none, being its beginning;
/// it is the first record, and no other is.
fn belongs(ledger: &Ledger, record: &Record) -> Option<Fault> {
    if record.statement.kind == Kind::Genesis || record.index == RecordIndex::FIRST {
        let detail = "GENESIS is the first record, and no other is";
        return (record.leaf_hash() != ledger.id)
            .then(|| (Check::GenesisStandsFirst, detail.to_owned()));
    }
    (record.statement.ledger != ledger.id).then(|| {
        let detail = "the statement was made for another ledger";
        (Check::OfThisLedger, detail.to_owned())
    })
}

/// Whether the statement is of those that a node may hold back in an outbox, if it stands in
/// the lane of one: keys count there that count nowhere else.
fn held_back(record: &Record) -> Option<Fault> {
    let statement = &record.statement;
    let deferred = statement.kind == Kind::Download && statement.mode == Mode::Deferred;
    let holds = matches!(statement.lane, Lane::Outbox(_)) && record.outcome == Outcome::Ok;
    (holds && !deferred).then(|| {
        let detail = format!(
            "a {} stands in the lane {}, which carries deferred downloads alone",
            statement.kind, statement.lane
        );
        (Check::OutboxCarriesDownloads, detail)
    })
}

/// Whether the record leaves chain and keys what this version takes them for.
pub(crate) fn understood(record: &Record) -> Option<Fault> {
    let kind = record.statement.kind;
    let critical = record.outcome == Outcome::Ok && kind.is_critical();
    Check::KindUnderstood.fails(critical).then(|| {
        let detail = format!("from this {kind} on, chain and keys may mean something else");
        (Check::KindUnderstood, detail)
    })
}

/// All that is asked of the statement by itself.
pub(crate) fn statement(ledger: &Ledger, record: &Record) -> impl Iterator<Item = Fault> {
    belongs(ledger, record)
        .into_iter()
        .chain(signature(ledger, record))
        .chain(held_back(record))
}

/// What is asked of a signature, by a key of a node.
struct SignatureChecks {
    signed: Check,
    not_revoked: Check,
    in_force: Check,
}

const STATEMENT: SignatureChecks = SignatureChecks {
    signed: Check::StatementSigned,
    not_revoked: Check::StatementKeyNotRevoked,
    in_force: Check::StatementKeyInForce,
};

const HOLDING: SignatureChecks = SignatureChecks {
    signed: Check::HoldingSigned,
    not_revoked: Check::HoldingKeyNotRevoked,
    in_force: Check::HoldingKeyInForce,
};

/// Whether the node that the statement names has signed it, with a key in force there.
fn signature(ledger: &Ledger, record: &Record) -> Option<Fault> {
    let statement = &record.statement;
    let node = statement.node;
    if ledger.member(node).is_none() {
        let detail = format!("the statement is of node {node}, which the ledger does not name");
        return Some((Check::NodeKnown, detail));
    }
    let validity = |life: &KeyLife| match statement.lane {
        // Signed when it entered the outbox, which may be long ago.
        Lane::Outbox(_) => life.before_record(record.index),
        _ => life.at_record(record.index),
    };
    let signed = statement.signed_bytes();
    let verifies = |key: &PublicKey| ledger.verifies(key, &signed, &record.signature);
    let fault = signed_by(&STATEMENT, ledger.statement_keys(node), validity, verifies)?;
    let detail = format!("the signature of node {node} on the statement {}", fault.1);
    Some((fault.0, detail))
}

/// Whether a statement of an outbox is signed by no key but one that is retired there.
pub(crate) fn is_by_retired(ledger: &Ledger, record: &Record) -> bool {
    let keys = ledger.statement_keys(record.statement.node);
    let is_retired = |life: &&KeyLife| life.retired.is_some_and(|at| at < record.index);
    if !matches!(record.statement.lane, Lane::Outbox(_)) || !keys.iter().any(|k| is_retired(&k)) {
        return false;
    }
    let signed = record.statement.signed_bytes();
    let verifies = |life: &KeyLife| ledger.verifies(&life.key, &signed, &record.signature);
    let in_force = |life: &KeyLife| life.before_record(record.index) == KeyValidity::InForce;
    let mut able = keys.iter().filter(|life| in_force(life));
    !able
        .clone()
        .any(|life| !is_retired(&life) && verifies(life))
        && able.any(verifies)
}

/// Whether one of a node's keys in force has signed, or what to say instead.
fn signed_by(
    checks: &SignatureChecks,
    keys: &[KeyLife],
    validity: impl Fn(&KeyLife) -> KeyValidity,
    verifies: impl Fn(&PublicKey) -> bool,
) -> Option<(Check, &'static str)> {
    let at = |wanted| keys.iter().filter(move |life| validity(life) == wanted);
    if at(KeyValidity::InForce).any(|life| verifies(&life.key)) {
        return None;
    }
    let verified = |life: &&KeyLife| verifies(&life.key);
    Some(match keys.iter().find(verified) {
        None => (checks.signed, "does not hold"),
        Some(life) if life.trusted_until.is_some() => (
            checks.not_revoked,
            "is by a key that was revoked from an earlier record on",
        ),
        Some(_) => (
            checks.in_force,
            "is by a key of the node that is not in force there",
        ),
    })
}

/// Checks the openings that are shown. One that was erased or is withheld is no fault,
/// but for the document of a system kind, which is public and never erased. Of what
/// the ledger refused unread, or for being malformed, only the commitments are asked.
pub(crate) fn openings(
    ledger: &Ledger,
    record: &Record,
    document: Option<&Opening>,
    actor: Option<&Opening>,
) -> Opened {
    let mut opened = Opened::default();
    match document {
        Some(opening) => open_document(ledger, record, opening, &mut opened),
        None if record.statement.kind.is_system() && !refused_unread(record) => {
            opened.faults.push((
                Check::PublicOpeningShown,
                format!(
                    "the public opening of this {} record is missing",
                    record.statement.kind
                ),
            ));
        }
        None => {}
    }
    if let Some(opening) = actor {
        open_actor(record, opening, &mut opened);
    }
    if record.outcome == Outcome::Ok && !record.statement.kind.is_reserved() {
        let unfit = unfit(opened.document.as_ref(), opened.actor.as_ref());
        let unfit = unfit.filter(|_| Check::WithinLimits.is_asked());
        let fault = |unfit| {
            let detail = format!("the record took effect, and {unfit}");
            (Check::WithinLimits, detail)
        };
        opened.faults.extend(unfit.map(fault));
    }
    opened
}

/// The first field that the ledger must not have taken.
fn unfit(document: Option<&Document>, actor: Option<&Actor>) -> Option<UnfitField> {
    let document = document.map_or(Ok(()), Document::within_limits);
    let actor = || actor.map_or(Ok(()), Actor::within_limits);
    document.and_then(|()| actor()).err()
}

/// Whether the ledger refused the record for what its openings are, or without reading them:
/// then nothing is asked of them but the commitment, where they are shown.
fn refused_unread(record: &Record) -> bool {
    matches!(
        record.outcome,
        Outcome::Refused(Reason::Malformed | Reason::FeatureLevel)
    )
}

fn open_document(ledger: &Ledger, record: &Record, opening: &Opening, opened: &mut Opened) {
    let statement = &record.statement;
    let mut fault = |check, detail: String| opened.faults.push((check, detail));
    let committed = commit_document(&opening.salt, &opening.bytes);
    if Check::DocumentIsCommitted.fails(committed != statement.document) {
        let detail = "the document opening is not what the record commits to";
        return fault(Check::DocumentIsCommitted, detail.to_owned());
    }
    if statement.kind.is_system() && opening.salt != PUBLIC_SALT && !refused_unread(record) {
        let detail = "the document opening of a system kind has a salt";
        fault(Check::PublicSaltIsZero, detail.to_owned());
    }
    if statement.kind.is_reserved() {
        // Nobody knows yet what it says: its commitment holds.
        return;
    }
    let document = match Document::decode(&opening.bytes) {
        Ok(document) => document,
        Err(_) if refused_unread(record) => return,
        Err(e) => {
            let detail = format!("the document opening cannot be read: {e}");
            return fault(Check::DocumentReads, detail);
        }
    };
    if Check::DocumentIsOfKind.fails(document.kind() != statement.kind) {
        if refused_unread(record) {
            return;
        }
        let detail = format!(
            "the document opening is of kind {} in a record of kind {}",
            document.kind(),
            statement.kind
        );
        return fault(Check::DocumentIsOfKind, detail);
    }
    if record.outcome == Outcome::Ok {
        // What was refused may well have been refused for these faults.
        for (check, detail) in content(ledger, record, &document) {
            fault(check, detail);
        }
    }
    opened.document = Some(document);
}

fn open_actor(record: &Record, opening: &Opening, opened: &mut Opened) {
    let committed = commit_actor(&opening.salt, &opening.bytes);
    if Check::ActorIsCommitted.fails(committed != record.statement.actor) {
        let detail = "the actor opening is not what the record commits to";
        let fault = (Check::ActorIsCommitted, detail.to_owned());
        return opened.faults.push(fault);
    }
    match Actor::decode(&opening.bytes) {
        Ok(actor) => opened.actor = Some(actor),
        Err(_) if refused_unread(record) => {}
        Err(e) => {
            let detail = format!("the actor opening cannot be read: {e}");
            opened.faults.push((Check::ActorReads, detail));
        }
    }
}

/// What a document that took effect must hold in itself.
fn content(ledger: &Ledger, record: &Record, document: &Document) -> Vec<Fault> {
    match document {
        Document::Issue(d) | Document::Reverse(d) => {
            holdings(ledger, record.index, &d.holdings, &d.renditions)
        }
        Document::AddRendition(d) => holdings(
            ledger,
            record.index,
            &d.holdings,
            std::slice::from_ref(&d.rendition),
        ),
        Document::Download(d) if d.bytes().is_none() => vec![(
            Check::DownloadRange,
            format!(
                "the range {}..{} does not lie within {} bytes",
                d.start, d.end, d.length
            ),
        )],
        Document::Boot(d) => {
            let node = record.statement.node;
            let in_force = ledger.statement_keys(node).iter().any(|life| {
                life.key == d.statement_key && life.at_record(record.index) == KeyValidity::InForce
            });
            match in_force {
                true => Vec::new(),
                false => vec![(
                    Check::BootKeyInForce,
                    "the BOOT names a statement key that is not in force for its node".to_owned(),
                )],
            }
        }
        Document::Membership(d) => {
            let mut nodes = d.voters.iter().flatten().chain(&d.learners);
            let stranger = nodes.find(|node| {
                let keys = ledger.statement_keys(**node).iter();
                keys.clone()
                    .all(|life| life.at_record(record.index) == KeyValidity::NotInForce)
            });
            let fault = stranger.map(|node| {
                let detail = format!("node {node} is a member without a key in force");
                (Check::MembersHaveKeys, detail)
            });
            fault.into_iter().collect()
        }
        Document::Mode(_) | Document::Policy(_) | Document::Planned(_) => {
            let will = willed(ledger.keys(), &ledger.id, record.place(), document);
            let told = level(document).into_iter().chain(lost(document));
            will.err().into_iter().chain(told).collect()
        }
        Document::Anchor(d) => ledger.anchored(record.index, d).err().into_iter().collect(),
        _ => Vec::new(),
    }
}

fn lost(document: &Document) -> Option<Fault> {
    let Document::Planned(PlannedDocument::BodyLost(d)) = document else {
        return None;
    };
    let detail = format!("no holder has the body {} any more", d.body_id);
    Some((Check::BodyKept, detail))
}

/// Whether a POLICY leaves the ledger at a level that this version understands.
fn level(document: &Document) -> Option<Fault> {
    let Document::Policy(d) = document else {
        return None;
    };
    let critical = |s: &&Setting| s.name == FEATURE_LEVEL && s.value >= CRITICAL_LEVEL;
    d.settings.iter().find(critical).map(|setting| {
        let detail = format!("from here on the feature level is {}", setting.value);
        (Check::LevelUnderstood, detail)
    })
}

/// Each holding must be of this ledger, of one of the renditions, and signed by the
/// node whose word it is.
fn holdings(
    ledger: &Ledger,
    index: RecordIndex,
    holdings: &[Holding],
    renditions: &[Rendition],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (i, holding) in holdings.iter().enumerate() {
        let member = ledger.member(holding.node);
        let zone = member.map(|member| &member.zone[..]);
        let unfit = first_unfit(&ledger.id, renditions, holding, zone);
        let fault = unfit.or_else(|| {
            let unsigned = signed_by(
                &HOLDING,
                &member?.statement,
                |life| life.of_holding(index, holding.epoch),
                |key| ledger.verifies(key, &holding.signed_bytes(), &holding.signature),
            );
            unsigned.map(|(check, _)| (check, "carries a signature that does not hold there"))
        });
        if let Some((check, what)) = fault {
            let detail = format!("holding {i}, by node {}, {what}", holding.node);
            faults.push((check, detail));
        }
    }
    faults
}

/// Whether a document's bytes (by digest and length) are those that the record speaks of.
pub(crate) fn same_bytes(document: Option<&Document>, given: (&Digest, u64)) -> Option<Fault> {
    let (sha256, length) = given;
    let known: Vec<(Digest, u64)> = match document {
        None => {
            let detail = "the record's document opening is not there, so the given document \
                          cannot be compared";
            return Some((Check::DocumentOpeningShown, detail.to_owned()));
        }
        Some(Document::Issue(d) | Document::Reverse(d)) => {
            d.renditions.iter().map(|r| (r.sha256, r.length)).collect()
        }
        Some(Document::AddRendition(d)) => vec![(d.rendition.sha256, d.rendition.length)],
        Some(Document::Download(d)) => vec![(d.sha256, d.length)],
        Some(_) => Vec::new(),
    };
    (!known.contains(&(*sha256, length))).then(|| {
        let detail = format!(
            "the given document ({length} bytes, SHA-256 {sha256}) is not one that the \
             record speaks of"
        );
        (Check::DocumentIsTheRecords, detail)
    })
}
