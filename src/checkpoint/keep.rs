//! Notes kept on the disk: of each second that had some, the last.
//!
//! Promises that a record finds a note long after its own rounds are over. Leaves finding
//! kept notes to [`crate::store::notes`].

use super::Cosigning;
use crate::store::notes::KeptNote;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// One note is kept of each such span.
const KEEP_EVERY: Duration = Duration::from_secs(1);

impl Cosigning {
    /// Keeps the last note of each second that had one.
    pub(super) async fn keep(&self) {
        let (parts, context) = (&self.0.parts, &self.0.context);
        match parts.notes.newest().await {
            Ok(newest) => {
                let size = newest.map_or(0, |kept| kept.size.get());
                self.0.kept_to.fetch_max(size, Ordering::AcqRel);
            }
            Err(error) => {
                self.storage_failed(&error);
                return;
            }
        }
        let mut kept: Option<Arc<str>> = None;
        let mut each = interval(KEEP_EVERY);
        each.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            each.tick().await;
            let newest = self.0.recent.newest().filter(|posted| posted.is_agreed);
            let Some(newest) = newest.filter(|n| Some(&n.note) != kept.as_ref()) else {
                continue;
            };
            let keeping = KeptNote {
                size: newest.size,
                note: newest.note.to_string(),
            };
            let now_s = context.clock.now_ms() / 1000;
            if let Err(error) = parts.notes.keep(keeping, now_s).await {
                self.storage_failed(&error);
                return;
            }
            self.0
                .kept_to
                .fetch_max(newest.size.get(), Ordering::AcqRel);
            kept = Some(newest.note.clone());
        }
    }
}
