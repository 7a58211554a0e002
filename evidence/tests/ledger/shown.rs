//! What the ledger in memory shows of itself: receipts, paths, bundles.

use super::{Ledger, ORIGIN};
use muniment_evidence::bundle::{BundleWriter, CheckpointFrame, Frame, Manifest, RecordFrame};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::receipt::{LastRecord, Receipt};
use muniment_evidence::tree::{self, Frontier, MemoryRows};

impl Ledger {
    pub fn receipt(&self, index: u64) -> Receipt {
        let entry = &self.entries[index as usize];
        Receipt {
            genesis: self.genesis(),
            keys: self.key_records(self.len()),
            record: entry.record.encode().to_vec(),
            document: Some(entry.document.clone()),
            actor: Some(entry.actor.clone()),
            path: self.path(index, self.len()),
            last: (index + 1 < self.len()).then(|| self.last_record(self.len())),
            checkpoint: self.cosigned_note(self.len()),
        }
    }

    /// The record before `size`, proven in the tree of that size.
    pub fn last_record(&self, size: u64) -> LastRecord {
        let record = &self.entries[size as usize - 1].record;
        LastRecord {
            record: record.encode().to_vec(),
            path: self.path(size - 1, size),
        }
    }

    pub fn frame(&self, index: u64) -> Frame {
        let entry = &self.entries[index as usize];
        Frame::Record(RecordFrame {
            record: entry.record.encode().to_vec(),
            document: Some(entry.document.clone()),
            actor: Some(entry.actor.clone()),
        })
    }

    pub fn path(&self, index: u64, size: u64) -> Vec<Digest> {
        let (index, size) = (RecordIndex::new(index), TreeSize::new(size));
        let Ok(path) = tree::inclusion_proof(&self.rows(), index, size);
        path
    }

    pub fn rows(&self) -> MemoryRows {
        let mut rows = MemoryRows::new();
        let mut frontier = Frontier::new();
        for i in 0..self.len() {
            rows.extend(frontier.append(self.leaf(i)));
        }
        rows
    }

    /// All frames of a bundle of the records from `first` on.
    pub fn frames(&self, first: u64) -> Vec<Frame> {
        let mut frames = vec![Frame::Manifest(Manifest {
            origin: ORIGIN.into(),
            ledger: self.leaf(0),
            first: RecordIndex::new(first),
            end: TreeSize::new(self.len()),
            head: TreeSize::new(self.len()),
            selection: String::new(),
            peaks: self.frontier(first).peaks().to_vec(),
            genesis: self.genesis(),
        })];
        frames.extend(self.key_records(self.len()).into_iter().map(Frame::Key));
        frames.extend((first..self.len()).map(|index| self.frame(index)));
        frames.push(Frame::Last(self.last_record(self.len())));
        frames.push(checkpoint_frame(self.note(self.len())));
        frames
    }

    /// All frames of a selection of these records.
    pub fn selection(&self, indexes: &[u64]) -> Vec<Frame> {
        let mut frames = self.frames(0);
        if let Frame::Manifest(manifest) = &mut frames[0] {
            manifest.selection = "tenant=default issuer=local".into();
        }
        frames.retain(|frame| !matches!(frame, Frame::Record(_)));
        let end = frames.split_off(frames.len() - 2);
        for index in indexes {
            if let Frame::Record(frame) = self.frame(*index) {
                frames.push(Frame::Proven(frame, self.path(*index, self.len())));
            }
        }
        frames.extend(end);
        frames
    }

    pub fn bundle(&self) -> Vec<u8> {
        seal(&self.frames(0))
    }
}

pub fn checkpoint_frame(note: String) -> Frame {
    let consistency = Vec::new();
    Frame::Checkpoint(CheckpointFrame { note, consistency })
}

/// A whole bundle, its END digest right whatever the frames hold.
pub fn seal(frames: &[Frame]) -> Vec<u8> {
    let mut writer = BundleWriter::new();
    let mut bytes: Vec<u8> = frames.iter().flat_map(|f| writer.frame(f)).collect();
    bytes.extend(writer.finish());
    bytes
}
