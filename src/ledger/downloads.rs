//! DOWNLOAD and DOWNLOAD_END: what a node was about to send, and what it handed over.
//!
//! Promises: a DOWNLOAD is of a rendition of its tenant's invoice and of a range that lies
//! within it; it is ended once, by the node that served it, under its tenant, with no more bytes
//! than its range has. Leaves sending them to `service/`.
//!
//! Tests: `src/ledger/tests/entitled_tests.rs`.

use super::rows::OpenDownloadRow;
use super::tables;
use super::txn::Txn;
use crate::domain::ids::{NodeId, RecordIndex, Uid};
use crate::store::StoreError;
use muniment_evidence::opening::{DownloadDocument, DownloadEndDocument};
use muniment_evidence::record::{Outcome, Reason};
use std::collections::BTreeSet;

pub(super) fn begin(
    txn: &mut Txn<'_>,
    node: NodeId,
    download: &DownloadDocument,
    index: RecordIndex,
) -> Result<Outcome, StoreError> {
    let uid = Uid(download.uid);
    match txn.row(&tables::invoice(uid))? {
        Some(row) if row.tenant == download.tenant => {}
        _ => return Ok(Outcome::Refused(Reason::NotFound)),
    }
    if !txn.has(&tables::body_digest(
        &download.tenant,
        &download.sha256,
        uid,
    ))? {
        return Ok(Outcome::Refused(Reason::NotFound));
    }
    let bytes = download.end.checked_sub(download.start);
    let Some(bytes) = bytes.filter(|_| download.end <= download.length) else {
        return Ok(Outcome::Refused(Reason::Malformed));
    };
    txn.put(tables::download(uid, index), &());
    let open = OpenDownloadRow {
        tenant: download.tenant.clone(),
        node,
        bytes,
    };
    txn.put(tables::open_download(index), &open);
    Ok(Outcome::Ok)
}

/// All of them or none: an END that names one wrongly is no word to rely on.
pub(super) fn end(
    txn: &mut Txn<'_>,
    node: NodeId,
    ends: &DownloadEndDocument,
) -> Result<Outcome, StoreError> {
    let mut named = BTreeSet::new();
    for end in &ends.downloads {
        let open = txn.row(&tables::open_download(end.download))?;
        let refused = match open {
            _ if !named.insert(end.download) => Reason::Malformed,
            None => Reason::NotDue,
            Some(open) if open.node != node || open.tenant != ends.tenant => Reason::NotEntitled,
            Some(open) if end.bytes > open.bytes => Reason::Malformed,
            Some(_) => continue,
        };
        return Ok(Outcome::Refused(refused));
    }
    for index in named {
        txn.delete(tables::open_download(index));
    }
    Ok(Outcome::Ok)
}
