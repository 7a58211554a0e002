//! Judges records by themselves, on all cores, and gives them back in order.

use crate::bundle::RecordFrame;
use crate::digest::Digest;
use crate::judge::{self, Opened};
use crate::ledger::Ledger;
use crate::record::Record;
use crate::report::{Class, Finding};
use crate::tree;

/// Fewer records than this are not worth a thread.
const THREAD_RECORDS_MIN: usize = 64;

/// A record of a bundle; of a selection, with its path.
pub(super) struct Shown {
    pub frame: RecordFrame,
    pub path: Option<Vec<Digest>>,
}

/// One record, judged by itself.
pub(super) struct Judged {
    pub leaf: Digest,
    pub record: Result<Record, Finding>,
    pub opened: Opened,
    pub faults: Vec<judge::Fault>,
    /// Of a selection: where its path leads.
    pub led_to: Option<Option<Digest>>,
}

/// Judges each record by itself, spread over the cores.
pub(super) fn judge_all(
    ledger: Option<&Ledger>,
    level: u8,
    end: u64,
    frames: &[Shown],
) -> Vec<Judged> {
    let judge = |frame| judge_one(ledger, level, end, frame);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(frames.len() / THREAD_RECORDS_MIN);
    if threads <= 1 {
        return frames.iter().map(judge).collect();
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> = frames
            .chunks(frames.len().div_ceil(threads))
            .map(|part| scope.spawn(move || part.iter().map(judge).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("judging a record does not panic"))
            .collect()
    })
}

fn judge_one(ledger: Option<&Ledger>, level: u8, end: u64, shown: &Shown) -> Judged {
    let frame = &shown.frame;
    let mut judged = Judged {
        leaf: tree::leaf_hash(&frame.record),
        record: Record::decode(&frame.record).map_err(|e| {
            let detail = format!("the record cannot be read: {e}");
            Finding::whole(Class::Structure, detail)
        }),
        opened: Opened::default(),
        faults: Vec::new(),
        led_to: None,
    };
    if let (Ok(record), Some(path)) = (&judged.record, &shown.path) {
        let led_to = tree::root_by_inclusion(&judged.leaf, record.index, end, path);
        judged.led_to = Some(led_to);
    }
    let (Ok(record), Some(ledger)) = (&judged.record, ledger) else {
        return judged;
    };
    if level >= 1 {
        judged.faults.extend(judge::belongs(ledger, record));
        judged.faults.extend(judge::signature(ledger, record));
    }
    if level >= 5 {
        judged.opened = judge::openings(
            ledger,
            record,
            frame.document.as_ref(),
            frame.actor.as_ref(),
        );
    }
    judged
}
