//! DOWNLOAD_END: which bytes were handed to the transport, several in one record.
//!
//! Promises: at most one record per [`PERIOD`] and tenant while downloads end; what ended before a
//! graceful stop is recorded; a download whose caller goes away while its record is made
//! ends with 0 bytes ([`record_download`]). Not awaited by anyone: no END means "possibly all
//! delivered". Leaves the bytes to `service/`.
//!
//! Tests: `src/recorder/download_ends_tests.rs`.

use super::lane::Recorder;
use super::{Intent, Recorded, RecorderError};
use crate::domain::ids::RecordIndex;
use crate::stop::Stop;
use crate::supervise::{self, Life};
use muniment_evidence::opening::{Delivered, Document, DownloadEndDocument};
use muniment_evidence::record::Outcome;
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
            not_recorded(&delivered);
        }
    }

    /// The same where nothing can be waited for: in a drop. What finds no place waits for
    /// one by itself; there are no more of these than downloads in flight.
    pub fn note_at_once(&self, tenant: String, delivered: Delivered) {
        match self.0.try_send(Message::Ended(tenant, delivered)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => not_recorded(&delivered),
            Err(mpsc::error::TrySendError::Full(ended)) => {
                let sender = self.0.clone();
                match tokio::runtime::Handle::try_current() {
                    Ok(runtime) => {
                        runtime.spawn(async move {
                            if sender.send(ended).await.is_err() {
                                not_recorded(&delivered);
                            }
                        });
                    }
                    Err(_) => not_recorded(&delivered),
                }
            }
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

fn not_recorded(delivered: &Delivered) {
    let download = delivered.download.get();
    tracing::debug!(download, "stopping: END not recorded");
}

/// A download that is on record as OK. Dropped, it has ended, with as many bytes as were
/// counted until then.
pub struct RecordedDownload {
    ends: DownloadEnds,
    tenant: String,
    index: RecordIndex,
    /// Bytes that were handed to the transport so far.
    pub sent: u64,
    /// Whether these are all that were asked for.
    pub complete: bool,
}

impl Drop for RecordedDownload {
    fn drop(&mut self) {
        let delivered = Delivered {
            download: self.index,
            bytes: self.sent,
            complete: self.complete,
        };
        let tenant = std::mem::take(&mut self.tenant);
        self.ends.note_at_once(tenant, delivered);
    }
}

/// Records a download. Whoever asks may go away, or give up waiting, at any moment: the record
/// is made all the same, and then it has its END, as the tenant's. `None` where the outcome is
/// not OK.
pub async fn record_download(
    recorder: Recorder,
    ends: DownloadEnds,
    tenant: String,
    intent: Intent,
) -> Result<(Recorded, Option<RecordedDownload>), RecorderError> {
    let recording = async move {
        let recorded = recorder.record(intent).await?;
        let download = (recorded.outcome == Outcome::Ok).then(|| RecordedDownload {
            ends,
            tenant,
            index: recorded.index,
            sent: 0,
            complete: false,
        });
        Ok((recorded, download))
    };
    // A task of its own, which nobody's going away ends: no more of them than the recorder
    // takes statements. An answer that nobody waits for is dropped, and so noted.
    let (answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        let _ = answer.send(recording.await);
    });
    answered.await.unwrap_or(Err(RecorderError::Stopped))
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
