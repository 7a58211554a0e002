//! What all receipts under one checkpoint have in common, made once.
//!
//! The records of one log entry have their first receipts under the same checkpoint: its
//! signature, the proof of its last record and those of the KEY records are the same bytes
//! in each. Promises that a head is given out for the very size and keys it was made for:
//! it lies with one [`super::keys::KeySnapshot`], and records never change. Leaves making
//! it to whoever proves.

use crate::domain::ids::TreeSize;
use crate::sync::Shared;
use muniment_evidence::receipt::{KeyRecord, LastRecord};
use std::collections::VecDeque;
use std::sync::Arc;

/// Heads remembered: more than entries have answers under way at once.
const HEADS_KEPT: usize = 64;

/// See the module.
pub struct ReceiptHead {
    pub size: TreeSize,
    /// Under the log key alone.
    pub checkpoint: String,
    pub last: Option<LastRecord>,
    pub keys: Vec<KeyRecord>,
}

/// The heads that were made lately.
#[derive(Default)]
pub struct RecentHeads(Shared<VecDeque<Arc<ReceiptHead>>>);

impl RecentHeads {
    pub fn of_size(&self, size: TreeSize) -> Option<Arc<ReceiptHead>> {
        let heads = self.0.lock();
        heads.iter().rev().find(|head| head.size == size).cloned()
    }

    /// Keeps a head; two that were made at once are the same.
    pub fn keep(&self, head: ReceiptHead) -> Arc<ReceiptHead> {
        let head = Arc::new(head);
        let mut heads = self.0.lock();
        if heads.len() == HEADS_KEPT {
            heads.pop_front();
        }
        heads.push_back(head.clone());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_head_goes_first() {
        let heads = RecentHeads::default();
        for size in 0..=HEADS_KEPT as u64 {
            heads.keep(ReceiptHead {
                size: TreeSize::new(size),
                checkpoint: size.to_string(),
                last: None,
                keys: Vec::new(),
            });
        }
        assert!(heads.of_size(TreeSize::new(0)).is_none());
        let kept = heads.of_size(TreeSize::new(1)).unwrap();
        assert_eq!(kept.checkpoint, "1");
    }
}
