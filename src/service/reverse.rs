//! Reverse: an invoice of its own that takes an amount off another.
//!
//! Promises what issue promises; the sum of reversals never exceeds the original, which
//! apply decides; a refusal names the invoice that was to be reversed, not the one that was
//! to reverse it.

use super::admission::UploadTurn;
use super::issue::{self, IssueDraft, Issued, UploadPieces};
use super::{Parts, Principal, find, levels};
use crate::domain::call_error::CallError;
use crate::domain::draft::{BadField, InvoiceKey, bad};
use muniment_evidence::opening::{Metadata, Money, Reference};
use muniment_evidence::record::Reason;
use muniment_evidence::rules::REVERSES;
use muniment_evidence::statement::Kind;

/// Reverses `target` by `amount`, or by all that is left.
pub async fn reverse(
    parts: &Parts,
    principal: &Principal,
    mut draft: IssueDraft,
    target: InvoiceKey,
    amount: Option<Money>,
    pieces: UploadPieces,
    turn: UploadTurn,
) -> Result<Issued, CallError> {
    let target = parts.tenants.resolve_key("target", target)?;
    let mut given = draft.metadata.references.iter();
    if given.any(|r| r.relation == REVERSES) {
        let why = "the REVERSES reference is set by the server, from target and amount";
        return Err(bad("metadata.references", why).into());
    }
    stated(&draft.metadata, amount.as_ref())?;
    let uid = find::find(&parts.reads, &target).await?;
    let original = find::invoice(&parts.reads, uid).await?;
    // What takes off an invoice is to be as safe as the invoice itself.
    let tenant = parts.tenants.level(&draft.metadata.identity.tenant)?;
    let asked = draft.body.level.unwrap_or(tenant);
    // As safe as what it takes back, as far as the members can still be.
    let of_original = levels::of_invoice(&parts.bodies, original.level);
    draft.body.level = Some(asked.join(of_original));
    draft.metadata.references.push(Reference {
        relation: REVERSES.to_owned(),
        target: uid.to_string(),
        sha256: original.renditions.first().map(|r| r.sha256),
        amount,
    });
    let entered = issue::enter(parts, principal, draft, pieces, turn, Kind::Reverse).await;
    entered.map_err(|refused| about_target(refused, &original.metadata))
}

/// Refusals that are about the invoice that was to be reversed.
const ABOUT_TARGET: [Reason; 5] = [
    Reason::ReversalExceeds,
    Reason::AmountExponent,
    Reason::LimitReached,
    Reason::AlreadyVoid,
    Reason::NotReversible,
];

/// Names the invoice whose total is exceeded, or that cannot be reversed, with that total.
fn about_target(refused: CallError, target: &Metadata) -> CallError {
    let about = ABOUT_TARGET.into_iter().find(
        |about| matches!(&refused, CallError::NotNow { reason, .. } if *reason == about.name()),
    );
    let Some(about) = about else {
        return refused;
    };
    let named = InvoiceKey::Identity(target.identity.clone()).to_string();
    match (CallError::refused(about, &named), &target.total) {
        (CallError::NotNow { reason, mut detail }, Some(total)) => {
            let Money {
                minor_units,
                currency,
                exponent,
            } = total;
            let total = format!("; its total is {minor_units} {currency} (exponent {exponent})");
            detail.push_str(&total);
            CallError::NotNow { reason, detail }
        }
        (refused, _) => refused,
    }
}

/// The total of a reversal is what it takes off, with either sign: schemes differ in that.
fn stated(metadata: &Metadata, amount: Option<&Money>) -> Result<(), BadField> {
    let (Some(total), Some(amount)) = (&metadata.total, amount) else {
        return Ok(());
    };
    let same_money = total.currency == amount.currency && total.exponent == amount.exponent;
    let same = total.minor_units.unsigned_abs() == amount.minor_units.unsigned_abs();
    match same_money && same {
        true => Ok(()),
        false => Err(bad(
            "metadata.total",
            format!(
                "is {} {} (exponent {}), the amount that is reversed {} {} (exponent {}): they \
                 are the same, but for the sign",
                total.minor_units,
                total.currency,
                total.exponent,
                amount.minor_units,
                amount.currency,
                amount.exponent
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::opening::Identity;

    fn money(minor_units: i64, currency: &str) -> Money {
        Money {
            minor_units,
            currency: currency.into(),
            exponent: 2,
        }
    }

    #[test]
    fn a_total_that_is_stated_is_what_is_taken_off_with_either_sign() {
        let with = |total: Option<Money>| Metadata {
            total,
            ..Metadata::default()
        };
        let amount = money(200, "EUR");
        for good in [None, Some(money(200, "EUR")), Some(money(-200, "EUR"))] {
            assert_eq!(stated(&with(good), Some(&amount)), Ok(()));
        }
        for other in [money(-999, "EUR"), money(0, "EUR"), money(-200, "CNY")] {
            let refused = stated(&with(Some(other.clone())), Some(&amount));
            assert_eq!(refused.unwrap_err().field, "metadata.total");
            // What is left is known to the ledger alone.
            assert_eq!(stated(&with(Some(other)), None), Ok(()));
        }
    }

    #[test]
    fn a_refusal_names_the_invoice_that_would_be_exceeded() {
        let original = Metadata {
            identity: Identity {
                number: "INV-7".into(),
                issuer: "ACME".into(),
                ..Identity::default()
            },
            total: Some(money(1234, "EUR")),
            ..Metadata::default()
        };
        let not_now = |reason: Reason| CallError::refused(reason, "CN-7");
        for reason in ABOUT_TARGET {
            let said = about_target(not_now(reason), &original).to_string();
            for part in ["INV-7", "ACME", "1234 EUR"] {
                assert!(said.contains(part), "{said}");
            }
            assert!(!said.contains("CN-7"), "{said}");
        }
        // What is about the reversal itself, or passes, stays what it is.
        for reason in [
            Reason::IdentityTaken,
            Reason::FeatureLevel,
            Reason::NotFound,
        ] {
            assert_eq!(about_target(not_now(reason), &original), not_now(reason));
        }
    }
}
