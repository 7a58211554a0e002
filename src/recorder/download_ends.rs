//! DOWNLOAD_END: which bytes were handed to the transport, several in one record.
//!
//! Promises: at most one record per [`PERIOD`] and tenant while downloads end; what ended before a
//! graceful stop is recorded. Not awaited by anyone: no END means "possibly all
//! delivered". Leaves the DOWNLOAD itself to `service/`.
//!
//! Tests: `src/recorder/download_ends_tests.rs`.

use super::lane::Recorder;
use super::{Intent, RecorderError};
use crate::stop::Stop;
use crate::supervise::{self, Life};
use muniment_evidence::opening::{Delivered, Document, DownloadEndDocument};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// One record speaks for all downloads of a tenant that ended in this time.
const PERIOD: Duration = Duration::from_millis(100);
/// Downloads in one record: 17 bytes each, far below an entry.
const ENDS_MAX: usize = 1000;

/// Pause before a full recorder is asked again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// An index, a count and a flag each; they and the rest of a statement fit an entry.
const _: () = assert!(ENDS_MAX * (8 + 8 + 1) * 2 < super::lane::ENTRY_BYTES);

enum Message {
    /// Of this tenant.
    Ended(String, Delivered),
    Flush(oneshot::Sender<()>),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct DownloadEnds(mpsc::Sender<Message>);

impl DownloadEnds {
    pub fn start(recorder: Recorder, stop: &Stop) -> DownloadEnds {
        let (sender, messages) = mpsc::channel(2 * ENDS_MAX);
        let collecting = collect(recorder, messages);
        supervise::keep(stop, Life::UntilUnused, "the DOWNLOAD_ENDs", collecting);
        DownloadEnds(sender)
    }

    /// Notes that a download has ended, in full or not.
    pub async fn note(&self, tenant: String, delivered: Delivered) {
        let ended = Message::Ended(tenant, delivered);
        if self.0.send(ended).await.is_err() {
            tracing::debug!(
                download = delivered.download.get(),
                "stopping: END not recorded"
            );
        }
    }

    /// Returns when everything noted before is recorded: for a graceful stop.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Message::Flush(done)).await.is_ok() {
            // The collector has gone with the recorder: nothing is left to wait for.
            let _ = flushed.await;
        }
    }
}

/// Records, however long the recorder's queue is full.
async fn record(recorder: &Recorder, intent: Intent) -> Result<(), RecorderError> {
    loop {
        match recorder.record(intent.clone()).await {
            Err(RecorderError::Full) => tokio::time::sleep(FULL_PAUSE).await,
            recorded => return recorded.map(drop),
        }
    }
}

async fn collect(recorder: Recorder, mut messages: mpsc::Receiver<Message>) {
    // By tenant: no record speaks of two.
    let mut ends = BTreeMap::<String, Vec<Delivered>>::new();
    let mut due = None;
    loop {
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let flushing = tokio::select! {
            message = messages.recv() => match message {
                None => return,
                Some(Message::Ended(tenant, ended)) => {
                    let of_tenant = ends.entry(tenant).or_default();
                    of_tenant.push(ended);
                    due.get_or_insert_with(|| Instant::now() + PERIOD);
                    if of_tenant.len() < ENDS_MAX {
                        continue;
                    }
                    None
                }
                Some(Message::Flush(done)) => Some(done),
            },
            () = timer => None,
        };
        due = None;
        for (tenant, downloads) in std::mem::take(&mut ends) {
            let ended = DownloadEndDocument { tenant, downloads };
            let intent = Intent::system(Document::DownloadEnd(ended));
            let recorded = match &flushing {
                Some(_) => record(&recorder, intent).await,
                None => recorder.note(intent).await,
            };
            if recorded.is_err() {
                return;
            }
        }
        if let Some(done) = flushing {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }
}
