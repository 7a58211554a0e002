//! The client's own judgement of every receipt it is handed.
//!
//! Promises: a receipt is accepted only if the evidence crate verifies it (with the pin,
//! where there is one) and it is about the very thing that was asked for, with outcome OK:
//! a valid receipt of something else proves nothing. Leaves all format questions to
//! [`muniment_evidence::verify`].

use crate::error::{ClientError, Unproven};
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{NodeId, OutboxId, RecordIndex, Sequence};
use muniment_evidence::opening::{Document, IssueDocument};
use muniment_evidence::policy::Policy;
use muniment_evidence::record::Outcome;
use muniment_evidence::report::{Report, Verdict};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, Expected};
use muniment_proto::v1;

/// A receipt that verified.
#[derive(Clone, Debug)]
pub struct ReceiptProof {
    /// To be kept: it checks offline, for ever.
    pub receipt: Bytes,
    /// Place of the record in the log.
    pub record_index: RecordIndex,
    /// Whether a pin says that this is the right ledger.
    pub pinned: bool,
}

/// What a receipt must say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReceiptClaim<'a> {
    /// Issued (or issued as a reversal), with these bytes.
    Issued {
        uid: &'a str,
        sha256: &'a Digest,
    },
    /// A rendition of these bytes was added.
    Added {
        uid: &'a str,
        sha256: &'a Digest,
    },
    Voided {
        uid: &'a str,
    },
    /// These bytes were released for download.
    Released {
        uid: &'a str,
        sha256: &'a Digest,
        start: u64,
        end: u64,
    },
}

/// Judges a receipt that came with an answer.
pub(crate) fn claim(
    receipt: Option<v1::Receipt>,
    trust: Option<&Trust>,
    claim: ReceiptClaim<'_>,
) -> Result<ReceiptProof, ClientError> {
    let bytes = receipt
        .ok_or_else(|| ClientError::unproven("the answer has no receipt"))?
        .bytes;
    let report = any(&bytes, trust, None)?;
    let opened = report
        .record
        .as_ref()
        .ok_or_else(|| ClientError::unproven("the receipt has no record"))?;
    if opened.record.outcome != Outcome::Ok {
        let why = format!("the record's outcome is {}", opened.record.outcome);
        return Err(unproven(why, report));
    }
    let about = opened
        .document
        .as_ref()
        .is_some_and(|document| says(document, claim));
    if !about {
        let why = "the receipt is valid, but about something else".to_owned();
        return Err(unproven(why, report));
    }
    Ok(ReceiptProof {
        receipt: bytes,
        record_index: opened.record.index,
        pinned: report.pinned,
    })
}

/// A promise that verified: bytes were released, and their record is to follow.
#[derive(Clone, Debug)]
pub struct PromiseProof {
    /// To be kept until the record is there: it checks offline.
    pub promise: Bytes,
    /// Whose promise it is.
    pub node: NodeId,
    /// The node's queue of records to come,
    pub outbox: OutboxId,
    /// and the place in it.
    pub seq: Sequence,
    /// Whether a pin says that this is the right ledger.
    pub pinned: bool,
}

/// Judges a promise that came with an answer.
pub(crate) fn promised(
    promise: Option<v1::Promise>,
    trust: Option<&Trust>,
    claim: ReceiptClaim<'_>,
) -> Result<PromiseProof, ClientError> {
    let bytes = promise
        .ok_or_else(|| ClientError::unproven("the answer has no promise"))?
        .bytes;
    let (report, promised) = verify::promise(&bytes, trust, None);
    let Some(promised) = promised else {
        let why = match report.gravest() {
            Some(finding) => finding.to_string(),
            None => "the promise says nothing".to_owned(),
        };
        return Err(unproven(why, report));
    };
    if !says(&Document::Download(promised.download), claim) {
        let why = "the promise is valid, but about something else".to_owned();
        return Err(unproven(why, report));
    }
    Ok(PromiseProof {
        promise: bytes,
        node: promised.node,
        outbox: promised.outbox,
        seq: promised.seq,
        pinned: report.pinned,
    })
}

/// Judges a receipt whatever it is about.
pub(crate) fn any(
    bytes: &[u8],
    trust: Option<&Trust>,
    policy: Option<&Policy>,
) -> Result<Report, ClientError> {
    let report = verify::receipt(
        bytes,
        Expected {
            trust,
            policy,
            ..Expected::default()
        },
    );
    match report.verdict() {
        // Fresh from a node: what else stands behind it is the caller's to keep and compare.
        Verdict::Verified | Verdict::Unwitnessed => Ok(report),
        Verdict::Unpinned if trust.is_none() => Ok(report),
        Verdict::Unpinned | Verdict::Failed(_) => {
            let why = match report.gravest() {
                Some(finding) => finding.to_string(),
                None => "the receipt is not of the pinned ledger".to_owned(),
            };
            Err(unproven(why, report))
        }
    }
}

fn unproven(why: String, report: Report) -> ClientError {
    ClientError::Unproven(Unproven {
        why,
        report: Some(Box::new(report)),
    })
}

fn says(document: &Document, claim: ReceiptClaim<'_>) -> bool {
    let is = |text: &str, uid: &[u8; 16]| {
        uuid::Uuid::parse_str(text).is_ok_and(|asked| asked.as_bytes() == uid)
    };
    match (document, claim) {
        (
            Document::Issue(issued) | Document::Reverse(issued),
            ReceiptClaim::Issued { uid, sha256 },
        ) => is(uid, &issued.uid) && holds(issued, sha256),
        (Document::AddRendition(added), ReceiptClaim::Added { uid, sha256 }) => {
            is(uid, &added.uid) && added.rendition.sha256 == *sha256
        }
        (Document::Void(void), ReceiptClaim::Voided { uid }) => is(uid, &void.uid),
        (
            Document::Download(released),
            ReceiptClaim::Released {
                uid,
                sha256,
                start,
                end,
            },
        ) => {
            is(uid, &released.uid)
                && released.sha256 == *sha256
                && (released.start, released.end) == (start, end)
        }
        _ => false,
    }
}

fn holds(issued: &IssueDocument, sha256: &Digest) -> bool {
    issued
        .renditions
        .iter()
        .any(|rendition| rendition.sha256 == *sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::opening::VoidDocument;

    #[test]
    fn an_answer_without_a_promise_or_with_a_broken_one_is_unproven() {
        let voided = ReceiptClaim::Voided { uid: "" };
        assert!(promised(None, None, voided).is_err());
        let bytes = Bytes::from_static(b"muniment-promise/v2\n");
        assert!(matches!(
            promised(Some(v1::Promise { bytes }), None, voided),
            Err(ClientError::Unproven(Unproven {
                report: Some(_),
                ..
            }))
        ));
    }

    #[test]
    fn an_answer_without_a_receipt_or_with_a_broken_one_is_unproven() {
        let voided = ReceiptClaim::Voided { uid: "" };
        assert!(matches!(
            claim(None, None, voided),
            Err(ClientError::Unproven(Unproven { report: None, .. }))
        ));
        let bytes = Bytes::from_static(b"muniment-receipt/v2\n");
        assert!(matches!(
            claim(Some(v1::Receipt { bytes }), None, voided),
            Err(ClientError::Unproven(Unproven {
                report: Some(_),
                ..
            }))
        ));
    }

    /// A server could hand out the valid receipt of another invoice.
    #[test]
    fn a_receipt_of_another_invoice_or_verb_does_not_count() {
        let uid = [7; 16];
        let text = uuid::Uuid::from_bytes(uid).to_string();
        let document = Document::Void(VoidDocument {
            tenant: "default".into(),
            uid,
            request_id: "r".into(),
            reason: "test".into(),
        });
        assert!(says(&document, ReceiptClaim::Voided { uid: &text }));
        let other = uuid::Uuid::from_bytes([8; 16]).to_string();
        assert!(!says(&document, ReceiptClaim::Voided { uid: &other }));
        let added = ReceiptClaim::Added {
            uid: &text,
            sha256: &Digest::ZERO,
        };
        assert!(!says(&document, added));
    }
}
