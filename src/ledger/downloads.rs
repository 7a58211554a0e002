//! DOWNLOAD and DOWNLOAD_END: what a node was about to send, and what it handed over.
//!
//! Promises: a DOWNLOAD is open until an END names it. Whether either takes effect was decided
//! before ([`muniment_evidence::rules`]); leaves sending to `service/`.
//!
//! Tests: `src/ledger/tests/entitled_tests.rs`.

use super::rows::OpenDownloadRow;
use super::tables;
use super::txn::Txn;
use crate::domain::ids::{NodeId, RecordIndex, Uid};
use muniment_evidence::opening::{DownloadDocument, DownloadEndDocument};

pub(super) fn begin(
    txn: &mut Txn<'_>,
    node: NodeId,
    download: &DownloadDocument,
    index: RecordIndex,
) {
    txn.put(tables::download(Uid(download.uid), index), &());
    let open = OpenDownloadRow {
        tenant: download.tenant.clone(),
        node,
        bytes: download.bytes().unwrap_or_default(),
    };
    txn.put(tables::open_download(index), &open);
}

pub(super) fn end(txn: &mut Txn<'_>, ends: &DownloadEndDocument) {
    for end in &ends.downloads {
        txn.delete(tables::open_download(end.download));
    }
}
