//! What an operator signs before the members change, and whether he has.
//!
//! Promises: what is drafted is byte for byte what would be recorded, so that he signs that and
//! nothing else; a change that the ledger would refuse for want of an order is refused before
//! it is numbered. Leaves deciding to apply, which asks again.
//!
//! Tests: `src/ledger/tests/order_tests.rs`, `tests/cluster/members.rs`, `tests/sim/main.rs`.

use super::plan::Wanted;
use super::{MembershipChanges, under_way};
use crate::domain::call_error::CallError;
use crate::domain::ids::RecordIndex;
use crate::ledger::rows::LedgerHead;
use crate::ledger::state::Tables;
use crate::objective::read::ReadLevel;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::{Endorsable as _, Endorsements};
use muniment_evidence::opening::{Document, ModeDocument};

/// A change to be ordered, and what the order names.
pub struct OrderDraft {
    /// Whether the ledger asks for an order at all.
    pub needed: bool,
    pub document: Document,
    pub ledger: Digest,
    /// The last record, and when it was committed.
    pub after: RecordIndex,
    pub leaf: Digest,
    pub committed_at_ms: u64,
}

impl OrderDraft {
    /// No signature yet, to hold until then.
    pub fn endorsements(&self, expires_ms: u64) -> Endorsements {
        Endorsements::new(self.after, self.leaf, expires_ms)
    }
}

impl MembershipChanges {
    /// What has to be signed for a change, as of now; none for one that costs more than is
    /// accepted.
    pub async fn draft(&self, wanted: Wanted) -> Result<OrderDraft, CallError> {
        if !self.group().is_leader() {
            return Err(self.unavailable("only the leader changes the members"));
        }
        self.0.parts.reads.fresh(ReadLevel::Linearizable).await?;
        let members = self.current().await?;
        if members.mode.preparing.is_some() {
            return Err(under_way());
        }
        let target = wanted.wish.target(&members)?;
        self.must_be_accepted(&wanted, &members, &target).await?;
        self.must_have_a_word(&wanted).await?;
        let document = Document::Mode(wanted.prepare(members.mode.next, &target));
        let head = self.head().await?;
        let needed = self.0.parts.keys.willed(&head, &document).await?.is_err();
        let after = head.size.last().unwrap_or(RecordIndex::FIRST);
        Ok(OrderDraft {
            needed,
            document,
            ledger: head.ledger,
            after,
            leaf: head.last_leaf,
            committed_at_ms: head.committed_at_ms,
        })
    }

    /// The change to be recorded, with the order that was given for this very one.
    pub(super) async fn ordered(
        &self,
        wanted: ModeDocument,
        given: Option<ModeDocument>,
    ) -> Result<ModeDocument, CallError> {
        let document = match given {
            Some(given) if given.unendorsed() == wanted.unendorsed() => given,
            Some(_) => {
                return Err(CallError::NotNow {
                    reason: "ORDER_OUTDATED",
                    detail: "the order was given for another change, or for other members than \
                             there are now: have it drafted and signed again"
                        .to_owned(),
                });
            }
            None => wanted,
        };
        let head = self.head().await?;
        let step = Document::Mode(document.clone());
        match self.0.parts.keys.willed(&head, &step).await? {
            Ok(()) => Ok(document),
            Err(detail) => Err(CallError::NotNow {
                reason: "NOT_ENTITLED",
                detail,
            }),
        }
    }

    async fn head(&self) -> Result<LedgerHead, CallError> {
        let reads = &self.0.parts.reads;
        reads.read(|tables: &Tables<'_>| tables.head()).await
    }
}
