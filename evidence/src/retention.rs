//! How long invoices are kept, and how they end: HOLD, RETENTION, ERASE and ERASED.
//!
//! Promises one encoding each. ERASED is public, since every reader must know why openings are
//! not there, and so names nothing but the record that asked for it. The features come later:
//! until then a ledger refuses these kinds, and a verifier reads them. Leaves what may be erased
//! to the ledger.
//!
//! Tests: `evidence/tests/planned.rs`.

use crate::codes::coded;
use crate::fields::{coded_fields, fields};
use crate::ids::{RecordIndex, TreeSize};
use crate::limits::{APPROVALS_MAX, LISTED_MAX, at_most, each, id, named, request_id, text};

coded! {
    pub enum HoldAction {
        Placed = 1 "PLACED",
        Lifted = 2 "LIFTED",
    }
}

coded! {
    pub enum RetentionAction {
        /// New, or longer than it was.
        Set = 1 "SET",
        /// The law was made shorter.
        Shortened = 2 "SHORTENED",
        Withdrawn = 3 "WITHDRAWN",
    }
}

coded! {
    /// From when on it is counted.
    pub enum RetentionClock {
        IssueDate = 1 "ISSUE_DATE",
        CalendarYear = 2 "END_OF_CALENDAR_YEAR",
        FiscalYear = 3 "END_OF_FISCAL_YEAR",
    }
}

coded! {
    pub enum EraseReason {
        RetentionEnded = 1 "RETENTION_ENDED",
        PersonalData = 2 "PERSONAL_DATA",
        /// Of a court or an authority.
        Order = 3 "ORDER",
    }
}

coded! {
    /// Where something was erased.
    pub enum ErasedFrom {
        Node = 1 "NODE",
        Backup = 2 "BACKUP",
        Store = 3 "STORE",
    }
}

coded_fields! {
    HoldAction "an action on a hold",
    RetentionAction "an action on a retention policy",
    RetentionClock "the clock of a retention policy",
    EraseReason "why something is erased",
    ErasedFrom "where something was erased",
}

/// What is to be erased: bodies 1, document openings 2, actor openings 4, and their sums.
const PARTS_ALL: u8 = 1 | 2 | 4;

fields! {
    /// A second person agreed.
    pub struct Approval {
        pub issuer: String = text,
        pub subject: String = text,
        pub at_ms: u64,
        pub reason: String = text,
    }
}

fields! {
    /// Nothing of these invoices is erased until the hold is lifted.
    pub struct HoldDocument {
        pub tenant: String = named,
        pub request_id: String = request_id,
        pub action: HoldAction,
        /// The case: an invoice may be under several.
        pub matter: String = id,
        /// Empty: all of the tenant's, those to come too.
        pub uids: Vec<[u8; 16]> = |f, v: &Vec<_>| at_most(f, v.len(), LISTED_MAX),
        pub reason: String = text,
        pub approvals: Vec<Approval> = |f, v| each(f, v, APPROVALS_MAX, Approval::within_limits),
    }
}

fields! {
    /// How long invoices of a kind are kept.
    pub struct RetentionDocument {
        pub tenant: String = named,
        pub request_id: String = request_id,
        pub policy: String = id,
        pub action: RetentionAction,
        pub clock: RetentionClock,
        /// `MM-DD`; empty for the other clocks.
        pub fiscal_year_end: String = id,
        pub months: u32,
        /// Of which invoices; empty: of any.
        pub scheme: String = named,
        pub issuer: String = named,
        pub type_code: String = id,
        pub reason: String = text,
        pub approvals: Vec<Approval> = |f, v| each(f, v, APPROVALS_MAX, Approval::within_limits),
    }
}

impl RetentionDocument {
    pub(crate) fn is_sound(&self) -> bool {
        let fiscal = self.clock == RetentionClock::FiscalYear;
        self.fiscal_year_end.is_empty() != fiscal
    }
}

fields! {
    /// Records from `first` up to `end`, which does not count.
    pub struct RecordRange {
        pub first: RecordIndex,
        pub end: TreeSize,
    }
}

fields! {
    /// What is to be erased.
    pub struct EraseDocument {
        pub tenant: String = named,
        pub request_id: String = request_id,
        pub why: EraseReason,
        pub parts: u8,
        /// All records of these invoices,
        pub uids: Vec<[u8; 16]> = |f, v: &Vec<_>| at_most(f, v.len(), LISTED_MAX),
        /// and these.
        pub ranges: Vec<RecordRange> = |f, v| each(f, v, LISTED_MAX, RecordRange::within_limits),
        pub reason: String = text,
        pub approvals: Vec<Approval> = |f, v| each(f, v, APPROVALS_MAX, Approval::within_limits),
    }
}

impl EraseDocument {
    pub(crate) fn is_sound(&self) -> bool {
        let mut ranges = self.ranges.iter();
        (1..=PARTS_ALL).contains(&self.parts)
            && ranges.all(|range| range.first.size_before() <= range.end)
    }
}

fields! {
    /// It is erased in one place.
    pub struct ErasedDocument {
        /// Index of the ERASE record.
        pub erase: RecordIndex,
        pub from: ErasedFrom,
        /// Which of the operator's backups or stores; 0 for the node that says so.
        pub number: u64,
        pub bodies: u64,
        pub openings: u64,
    }
}
