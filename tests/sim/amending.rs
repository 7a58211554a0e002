//! Calls that add to an invoice which was issued: reversed, declared void, given a further
//! rendition. Which of the three follows from its number, so that a call whose outcome is
//! unknown is repeated by any other caller, to the letter.
//!
//! Promises what [`crate::callers`] promises, and leaves to the oracle what the answers
//! must have in common.

use crate::callers::{pieces, someone};
use crate::oracle;
use muniment::domain::call_error::CallError;
use muniment::domain::draft::InvoiceKey;
use muniment::service::admission::UploadTurn;
use muniment::service::issue::{BodyDraft, IssueDraft};
use muniment::service::{Parts, add_rendition, reverse, void};
use muniment_evidence::opening::Metadata;
use muniment_evidence::receipt::Receipt;
use muniment_evidence::statement::Kind;

/// Numbers of bodies that no issue has: those of credit notes, and of renditions.
const CREDIT_NOTES: u64 = 2_000_000;
const RENDITIONS: u64 = 3_000_000;

/// What is added to an invoice of this number, if anything.
pub fn kind(number: u64) -> Option<Kind> {
    match number % 4 {
        1 => Some(Kind::Reverse),
        2 => Some(Kind::Void),
        3 => Some(Kind::AddRendition),
        _ => None,
    }
}

/// Adds it; the receipt is that of the first call that did.
pub async fn amend(parts: &Parts, kind: Kind, number: u64) -> Result<Receipt, CallError> {
    let key = InvoiceKey::Identity(oracle::identity(number));
    let (who, turn) = (someone(), UploadTurn::AtOnce);
    match kind {
        Kind::Reverse => {
            let body = oracle::body(CREDIT_NOTES + number);
            let draft = IssueDraft {
                request_id: format!("reverse-{number}"),
                metadata: credit_note(number),
                body: drafted(body.len(), ""),
            };
            let amount = None;
            let reversed = reverse::reverse(parts, &who, draft, key, amount, pieces(&body), turn);
            Ok(reversed.await?.receipt)
        }
        Kind::Void => {
            let request_id = format!("void-{number}");
            let reason = "sent to the wrong customer".to_owned();
            let voided = void::void(parts, &who, request_id, key, reason);
            Ok(voided.await?.receipt)
        }
        _ => {
            let body = oracle::body(RENDITIONS + number);
            let draft = add_rendition::RenditionDraft {
                request_id: format!("rendition-{number}"),
                key,
                body: drafted(body.len(), "xml"),
            };
            let added = add_rendition::add_rendition(parts, &who, draft, pieces(&body), turn);
            Ok(added.await?.receipt)
        }
    }
}

fn credit_note(number: u64) -> Metadata {
    let mut metadata = oracle::metadata(number);
    metadata.identity.number = format!("C-{number}");
    metadata.type_code = "381".into();
    metadata
}

fn drafted(length: usize, role: &str) -> BodyDraft {
    BodyDraft {
        length: length as u64,
        role: role.into(),
        ..BodyDraft::default()
    }
}
