//! Who looks on while a bundle is verified: for questions about its contents.
//!
//! Promises: an observer sees every record that can be read, once and in the order of the
//! bundle, with the openings that it commits to. Leaves it to the asker to wait for the
//! report: what is seen counts for nothing when there are findings.

use crate::bundle::Manifest;
use crate::digest::Digest;
use crate::ledger::Ledger;
use crate::opening::{Actor, Document};
use crate::record::Record;
use crate::report::OpenedRecord;

/// A record as it went by, with the openings that it commits to (from level 5 on).
#[derive(Clone, Copy)]
pub struct SeenRecord<'a> {
    pub record: &'a Record,
    pub leaf: &'a Digest,
    pub document: Option<&'a Document>,
    pub actor: Option<&'a Actor>,
    /// With the keys of all KEY records; `None` when the genesis does not hold.
    pub ledger: Option<&'a Ledger>,
    /// Whether nothing was found at this record.
    pub sound: bool,
}

impl SeenRecord<'_> {
    /// All that the record says, to be kept.
    pub fn opened_record(&self) -> OpenedRecord {
        let member = self
            .ledger
            .and_then(|ledger| ledger.member(self.record.statement.node));
        OpenedRecord {
            record: self.record.clone(),
            document: self.document.cloned(),
            actor: self.actor.cloned(),
            place: member.map(|member| (member.region.clone(), member.zone.clone())),
        }
    }
}

/// See the module.
pub trait Observer {
    /// Before the first record.
    fn begin(&mut self, _manifest: &Manifest) {}

    fn see(&mut self, seen: SeenRecord<'_>);

    /// After the last record, if there was a manifest.
    fn end(&mut self, _ledger: Option<&Ledger>) {}
}

/// Nobody looks on.
impl Observer for () {
    fn see(&mut self, _seen: SeenRecord<'_>) {}
}
