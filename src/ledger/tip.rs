//! The tip of the ledger: its head and the right edge of its tree, kept between applies.
//!
//! Promises that a tip that was loaded has the root that was stored with it: a node whose
//! tree lost its root must neither serve nor sign. Leaves moving it to [`super::apply`].
//!
//! Tests: `src/ledger/tests/scenario_tests.rs`, `tests/cluster/divergence.rs`.

use super::rows::LedgerHead;
use super::tables;
use super::tree_rows::StoredRows;
use crate::domain::ids::RecordIndex;
use crate::store::StoreError;
use crate::store::engine::View;
use crate::store::keys::Generation;
use muniment_evidence::tree::Frontier;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tip {
    pub head: LedgerHead,
    pub frontier: Frontier,
}

impl Tip {
    /// Reads the head and recomputes the tree's right edge from its rows; a root other
    /// than the stored one is damage.
    pub fn load(view: &dyn View, generation: Generation) -> Result<Tip, StoreError> {
        let Some(head) = head(view, generation)? else {
            return Ok(Tip::default());
        };
        let frontier = Frontier::load(&StoredRows::new(view, generation), head.size)?;
        if frontier.root() != head.root {
            return Err(StoreError::corrupt(format!(
                "the evidence tree of size {} has root {} but {} was stored",
                head.size,
                frontier.root(),
                head.root
            )));
        }
        Ok(Tip { head, frontier })
    }
}

/// The head; `None` of a ledger that was never founded, which has no records either.
pub fn head(view: &dyn View, generation: Generation) -> Result<Option<LedgerHead>, StoreError> {
    let head = tables::head().read(view, generation)?;
    let first = tables::record(RecordIndex::FIRST).within(generation);
    if head.is_none() && view.get(&first)?.is_some() {
        return Err(StoreError::corrupt("there are records and no head"));
    }
    Ok(head)
}
