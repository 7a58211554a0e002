//! CONFIG: by what this boot is configured, said once.
//!
//! Promises: as soon as the ledger is at the feature level that has CONFIG, whether it was so at
//! the boot or is raised while the node runs, this node records what it goes by, in the strict
//! lane of its boot, once; no load of callers keeps it out, and it keeps nobody out. The lane sees
//! to it over changes of leaders; if it is refused, it is said again, ever more seldom. Leaves what
//! is said to [`crate::config::effective`].

use super::lane::Recorder;
use super::{Intent, Recorded, RecorderError};
use crate::ledger::policy;
use crate::raft::machine::Applied;
use muniment_evidence::opening::{Document, PlannedDocument};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Kind;
use muniment_evidence::tenancy::ConfigDocument;
use std::time::Duration;
use tokio::sync::watch;

/// Before it is said again; twice as long each time. A leader may refuse on its own word, and
/// another may lead by then.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// ... and never longer: a node that is refused for ever leaves a record an hour.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Returns when it is recorded, or the node is stopping.
pub async fn attest(
    recorder: Recorder,
    mut applied: watch::Receiver<Applied>,
    config: ConfigDocument,
) {
    let has_come = |now: &Applied| policy::has_come(Kind::Config, now.feature_level);
    if applied.wait_for(has_come).await.is_err() {
        return;
    }
    let document = Document::Planned(PlannedDocument::Config(config));
    let mut pause = REFUSED_PAUSE;
    loop {
        let intent = Intent::system(document.clone());
        match recorder.record_in_turn(intent).await {
            Ok(Recorded {
                outcome: Outcome::Ok,
                index,
            }) => {
                tracing::info!(index = index.get(), "on record: what this node goes by");
                return;
            }
            Ok(Recorded { index, outcome }) => {
                tracing::error!(index = index.get(), %outcome, "the CONFIG of this boot is refused");
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(REFUSED_PAUSE_MAX);
            }
            Err(RecorderError::Full | RecorderError::Stopped) => return,
        }
    }
}
