//! Which record names a body, and which bodies the records name.
//!
//! Promises: only what an OK record names counts, as that record says it is. Reads the
//! applied state alone. Leaves holding the bodies to [`super::complete`].

use crate::ledger::state::{State, Tables};
use crate::store::Error;
use crate::store::bodies::{BodyId, Content};
use muniment_evidence::opening::{Document, Rendition};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;
use muniment_evidence::tree::TILE_WIDTH;

/// Invoices with the same bytes that are looked through for one body; beyond them all
/// records are.
const SAME_BYTES_MAX: usize = 256;

/// What some records name.
pub struct Names {
    /// Record and rendition.
    pub named: Vec<(u64, Rendition)>,
    /// The record to go on from.
    pub next: u64,
}

/// What the records from `from` to the end of their tile name, below `end`.
pub fn names(tables: &Tables, from: u64, end: u64) -> Result<Names, Error> {
    let end = end.min(tables.head()?.size);
    let next = end.min(from + TILE_WIDTH - from % TILE_WIDTH);
    let mut named = Vec::new();
    let records = match from < next {
        true => tables.record_range(from, next, (next - from) as usize)?,
        false => Vec::new(),
    };
    for (index, bytes) in (from..).zip(records) {
        let names = |kind: Kind| bytes.get(Record::KIND_AT) == Some(&(kind as u8));
        let may_name = [Kind::Issue, Kind::Reverse, Kind::AddRendition];
        if !may_name.into_iter().any(names) {
            continue;
        }
        let record = Record::decode(&bytes);
        let record = record.map_err(|e| Error::corrupt(format!("record {index}: {e}")))?;
        if record.outcome != Outcome::Ok {
            continue;
        }
        match tables.document(index)? {
            Document::Issue(issue) | Document::Reverse(issue) => {
                named.extend(issue.renditions.into_iter().map(|r| (index, r)));
            }
            Document::AddRendition(add) => named.push((index, add.rendition)),
            _ => {
                return Err(Error::corrupt(format!(
                    "record {index} opens to another kind"
                )));
            }
        }
    }
    Ok(Names { named, next })
}

/// A record at or below the one that names the body, and what the body is. `None`: nothing
/// that is applied here names it. Without a content it looks through all records.
pub fn name_of(
    state: &State,
    body: BodyId,
    content: Option<Content>,
) -> Result<Option<(u64, Content)>, Error> {
    let row = state.stable(|tables| tables.named(&body))?;
    if let Some(row) = row {
        return Ok(Some((row.index, (row.length, row.sha256))));
    }
    // Records of feature level 1 are in no table by body id.
    if let Some(content) = content {
        let (found, all) = state.stable(|tables| {
            let uids = tables.with_body(&content.1, SAME_BYTES_MAX)?;
            let size = tables.head()?.size;
            let all = uids.len() < SAME_BYTES_MAX;
            for uid in uids {
                let Some(invoice) = tables.invoice(uid, size)? else {
                    continue;
                };
                if invoice.renditions.iter().any(|r| r.body_id == body) {
                    return Ok((Some((invoice.record_index, content)), all));
                }
            }
            Ok((None, all))
        })?;
        if found.is_some() || all {
            return Ok(found);
        }
    }
    let mut from = 0;
    loop {
        let page = state.stable(|tables| names(tables, from, u64::MAX))?;
        for (index, rendition) in page.named {
            if rendition.body_id == body {
                return Ok(Some((index, (rendition.length, rendition.sha256))));
            }
        }
        if page.next <= from {
            return Ok(None);
        }
        from = page.next;
    }
}
