//! DOWNLOAD_END: which bytes were handed to the transport, several in one record.
//!
//! Promises: at most one record per [`PERIOD`] while downloads end; what ended before a
//! graceful stop is recorded. Not awaited by anyone: no END means "possibly all
//! delivered". Leaves the DOWNLOAD itself to `service/`.

use super::Intent;
use super::lane::Recorder;
use muniment_evidence::opening::{Delivered, Document};
use std::time::Duration;
use tokio::sync::mpsc;

/// One record speaks for all downloads that ended in this time.
const PERIOD: Duration = Duration::from_millis(100);
/// Endings in one record: 17 bytes each, far below an entry.
const ENDINGS_MAX: usize = 1000;

/// Cheap to clone.
#[derive(Clone)]
pub struct Endings(mpsc::Sender<Delivered>);

impl Endings {
    pub fn start(recorder: Recorder) -> Endings {
        let (sender, mut ended) = mpsc::channel(2 * ENDINGS_MAX);
        tokio::spawn(async move {
            while let Some(first) = ended.recv().await {
                tokio::time::sleep(PERIOD).await;
                let mut endings = vec![first];
                while endings.len() < ENDINGS_MAX
                    && let Ok(next) = ended.try_recv()
                {
                    endings.push(next);
                }
                let intent = Intent::system(Document::DownloadEnd(endings));
                if recorder.note(intent).await.is_err() {
                    return;
                }
            }
        });
        Endings(sender)
    }

    /// Notes that a download has ended, in full or not.
    pub async fn note(&self, delivered: Delivered) {
        if self.0.send(delivered).await.is_err() {
            tracing::debug!(download = delivered.download, "stopping: END not recorded");
        }
    }
}
