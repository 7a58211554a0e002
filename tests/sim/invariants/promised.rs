//! Invariant: what was promised is recorded, once, as the very statement.
//!
//! Whatever crashed or was cut off meanwhile, power cuts included, every release that a
//! caller was given on a promise has its OK record in the one final log, under the number
//! that was promised: of a node that has left as well, which leaves when it has recorded them. What
//! a node had promised whose disk the world has taken away is gone with that disk, and no other
//! node can tell it; nor of one that its operator, in the end, no longer waited for.

use crate::world::End;
use muniment::domain::ids::RecordIndex;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Lane;
use std::collections::HashMap;

pub fn check(end: &End) -> Result<(), String> {
    let seen = end.cluster.oracle.seen();
    if seen.promised.is_empty() {
        return Err("no caller was given a promise in the whole run".into());
    }
    let size = end.heads[0].size;
    let records = end.log.read(|tables| {
        tables.record_range(RecordIndex::FIRST, size.next_index(), size.get() as usize)
    });
    let records = records.map_err(|error| error.to_string())?;
    let mut released = HashMap::new();
    for bytes in records {
        let record = Record::decode(&bytes).map_err(|error| error.to_string())?;
        if let (Lane::Outbox(outbox), Outcome::Ok) = (record.statement.lane, record.outcome) {
            let place = (record.statement.node, outbox, record.statement.seq);
            released.insert(place, record.statement.hash());
        }
    }
    for promised in &seen.promised {
        let Lane::Outbox(outbox) = promised.lane else {
            return Err(format!("a promise stands in the lane {}", promised.lane));
        };
        let (node, seq) = (promised.node, promised.seq);
        let record = released.get(&(node, outbox, seq));
        let taken_away = record.is_none() && end.unrecorded.contains(&node.get());
        if !taken_away && record != Some(&promised.hash()) {
            return Err(format!(
                "node {node} promised statement {seq} of outbox {outbox}; the log has not got it"
            ));
        }
    }
    Ok(())
}
