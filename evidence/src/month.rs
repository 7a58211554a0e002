//! The seal of a month: all invoices of a tenant that are dated in it, by number, sums and root.
//!
//! Promises one encoding, and the leaf under which an invoice stands in the month's own tree: so
//! that who is shown invoices of a month can tell whether they are all, without seeing another
//! tenant's. A later seal of the same month covers everything again, so its tree goes on from the
//! tree before, and what came late is what was appended. Leaves counting to the ledger, which
//! refuses the kind until the feature comes.
//!
//! Tests: `evidence/tests/planned.rs`.

use crate::digest::Digest;
use crate::fields::fields;
use crate::ids::{RecordIndex, TreeSize};
use crate::limits::{EXPONENT_MAX, LISTED_MAX, at_most, each, id, named};
use crate::statement::Kind;
use crate::tree;

fields! {
    /// What the totals of one currency, exponent and kind come to.
    pub struct MonthSum {
        /// Empty, with exponent and sum 0, for invoices without a total.
        pub currency: String = id,
        pub exponent: u8 = |f, v: &u8| at_most(f, usize::from(*v), usize::from(EXPONENT_MAX)),
        /// The code of ISSUE, of REVERSE, or of VOID for those of both that are void.
        pub kind: u8,
        pub count: u64,
        pub minor_units: i128,
    }
}

fields! {
    /// The seal of (tenant, month).
    pub struct MonthDocument {
        pub tenant: String = named,
        /// `YYYY-MM`: that of the issue date.
        pub month: String = id,
        /// Counts the seals of this month from 0.
        pub number: u64,
        /// Index of the seal before; absent in the first.
        pub previous: Option<RecordIndex>,
        /// It covers the first so many records of the log.
        pub end: TreeSize,
        /// How many OK ISSUE and REVERSE there are, and the root of their tree.
        pub count: u64,
        pub root: Digest,
        /// In the order of (currency, exponent, kind).
        pub sums: Vec<MonthSum> = |f, v| each(f, v, LISTED_MAX, MonthSum::within_limits),
    }
}

impl MonthDocument {
    /// Each sum stands once and is of a kind that has one, and those of issues and reversals
    /// are of as many invoices as there are.
    pub(crate) fn is_sound(&self) -> bool {
        let place = |sum: &MonthSum| (sum.currency.clone(), sum.exponent, sum.kind);
        let in_order = self
            .sums
            .windows(2)
            .all(|two| place(&two[0]) < place(&two[1]));
        let void = Kind::Void.code();
        let kinds = [Kind::Issue.code(), Kind::Reverse.code(), void];
        let known = self
            .sums
            .iter()
            .all(|s| kinds.contains(&s.kind) && s.count > 0);
        let issued = self.sums.iter().filter(|sum| sum.kind != void);
        let counted: u128 = issued.map(|sum| u128::from(sum.count)).sum();
        in_order
            && known
            && counted == u128::from(self.count)
            && self.previous.is_some() == (self.number > 0)
    }
}

/// The leaf of an invoice in the tree of its month: where it stands in the log, and what its
/// record commits to.
pub fn leaf(index: RecordIndex, document: &Digest) -> Digest {
    tree::leaf_hash(&[&index.get().to_be_bytes(), &document.0[..]].concat())
}
