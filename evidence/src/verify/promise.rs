//! One promise, checked in itself: the checks in their order.

use super::expectations::open_ledger;
use super::known_keys::KnownKeys;
use super::learned_keys::LearnedKeys;
use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::{NodeId, OutboxId, RecordIndex, Sequence, TreeSize};
use crate::opening::{Actor, Document, DownloadDocument};
use crate::promise::Promise;
use crate::record::{Outcome, Record};
use crate::record_checks;
use crate::report::{EvidenceKind, Finding, LEVEL_DEFAULT, Report};
use crate::statement::{Kind, Lane, Mode};
use crate::trust::Trust;

/// What a node promised, once the promise verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// Leaf hash of the genesis record.
    pub ledger: Digest,
    pub node: NodeId,
    /// Region and zone of the node.
    pub place: Option<(String, String)>,
    pub outbox: OutboxId,
    pub seq: Sequence,
    /// Hash of the statement that is to be recorded.
    pub statement: Digest,
    pub witnessed_at_ms: u64,
    pub download: DownloadDocument,
    pub actor: Actor,
}

/// Verifies the bytes of a promise file; what was promised only if everything holds. It
/// carries the changes of keys that its node knew; a later revocation counts where `keys` has
/// it.
///
/// ```
/// use muniment_evidence::trust::Trust;
/// use muniment_evidence::verify;
///
/// # let promise = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/promise"));
/// # let trust = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/trust"));
/// let trust = Trust::parse(trust).expect("three lines");
/// let (report, promised) = verify::promise(promise, Some(&trust), None);
/// assert_eq!(report.exit_code(), 0);
/// assert_eq!(promised.expect("it holds").seq.get(), 0);
/// ```
pub fn promise(
    bytes: &[u8],
    trust: Option<&Trust>,
    keys: Option<&KnownKeys>,
) -> (Report, Option<Promised>) {
    let mut report = Report::new(EvidenceKind::Promise, LEVEL_DEFAULT, trust.is_some());
    let promised = check(bytes, trust, keys, &mut report);
    let promised = promised.filter(|_| report.holds());
    (report, promised)
}

fn check(
    bytes: &[u8],
    trust: Option<&Trust>,
    keys: Option<&KnownKeys>,
    report: &mut Report,
) -> Option<Promised> {
    let promise = match Promise::decode(bytes) {
        Ok(promise) => promise,
        Err(e) => {
            let detail = format!("this is not a promise: {e}");
            report.find(Finding::whole(Check::PromiseReads, detail));
            return None;
        }
    };
    let mut ledger = open_ledger(&promise.genesis, trust, report)?;
    let mut learned = LearnedKeys::default();
    for key in &promise.keys {
        if let Err(finding) = learned.take(&mut ledger, key, TreeSize::new(u64::MAX)) {
            report.find(finding);
            return None;
        }
    }
    if let Some(known) = keys {
        known.join(&learned, learned.size(), &mut ledger, report);
    }
    learned.check(report);
    report.unplaced = promise.keys.len() as u64;
    let statement = promise.statement;
    let outbox = match (statement.kind, statement.mode, statement.lane) {
        (Kind::Download, Mode::Deferred, Lane::Outbox(outbox)) => outbox,
        (kind, _, lane) => {
            let detail = format!(
                "a statement of kind {kind} in the lane {lane} promises no download: that is \
                 deferred, in an outbox"
            );
            report.find(Finding::whole(Check::PromisesDownload, detail));
            return None;
        }
    };
    // What the record would be, wherever it comes to stand.
    let record = Record {
        index: RecordIndex::new(u64::MAX),
        prev: Digest::ZERO,
        committed_at_ms: 0,
        keys: promise.keys.len() as u64,
        outcome: Outcome::Ok,
        statement,
        signature: promise.signature,
    };
    let opened = record_checks::openings(
        &ledger,
        &record,
        Some(&promise.document),
        Some(&promise.actor),
    );
    record_checks::statement(&ledger, &record)
        .chain(opened.faults)
        .for_each(|(check, detail)| report.find(Finding::whole(check, detail)));
    let Some(Document::Download(download)) = opened.document else {
        return None;
    };
    let node = record.statement.node;
    Some(Promised {
        ledger: ledger.id,
        node,
        place: ledger
            .member(node)
            .map(|member| (member.region.clone(), member.zone.clone())),
        outbox,
        seq: record.statement.seq,
        statement: record.statement.hash(),
        witnessed_at_ms: record.statement.witnessed_at_ms,
        download,
        actor: opened.actor?,
    })
}
