//! Counts and sums of what was issued, reversed and voided, and how they differ from the
//! caller's own.
//!
//! Promises: OK records alone, each in one row by issuer, month of the issue date (of the
//! commitment, where there is none), currency and kind; sums are exact, in i128 minor
//! units. A VOID stands in the row of the invoice that it voids. A REVERSE stands with what
//! it took off, negative, in the currency of the invoice that it reverses, whether it said
//! how much or took all that was left. Probes of drills are nobody's invoices: they are told
//! beside the table, and are in none of its rows. What could not be placed or read is counted, and then
//! equal figures are not called reconciled. Keeps some sixty bytes for each invoice. Leaves the file to [`super::csv`].

use crate::answer::{AuditAnswer, Audited, Ending};
use crate::invoice::reversal;
use crate::json::Value;
use crate::summary::words::utc;
use muniment_evidence::bundle::Manifest;
use muniment_evidence::class::FindingClass;
use muniment_evidence::drill::DRILL_TENANT;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::opening::{Document, IssueDocument, Money};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::{Report, shown};
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{Observer, SeenRecord};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// What makes a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FigureKey {
    pub issuer: String,
    /// `YYYY-MM`.
    pub month: String,
    /// Empty where the invoices state no total.
    pub currency: String,
    /// One of [`Figures::KINDS`].
    pub kind: Kind,
}

/// An exact decimal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub minor_units: i128,
    pub exponent: u8,
}

impl Sum {
    /// More decimals than any currency has; an i64 with so many still fits i128.
    pub const EXPONENT_MAX: u8 = 18;

    /// With at least so many decimals; `None` where that does not fit.
    fn to_exponent(self, exponent: u8) -> Option<Sum> {
        let exponent = exponent.max(self.exponent);
        let factor = 10i128.checked_pow(u32::from(exponent - self.exponent))?;
        Some(Sum {
            minor_units: self.minor_units.checked_mul(factor)?,
            exponent,
        })
    }

    fn plus(self, other: Sum) -> Option<Sum> {
        let exponent = self.exponent.max(other.exponent);
        let (a, b) = (self.to_exponent(exponent)?, other.to_exponent(exponent)?);
        Some(Sum {
            minor_units: a.minor_units.checked_add(b.minor_units)?,
            exponent,
        })
    }

    /// The same, taken off.
    fn taken_off(self) -> Option<Sum> {
        let minor_units = self.minor_units.checked_neg()?;
        Some(Sum {
            minor_units,
            ..self
        })
    }
}

impl From<&Money> for Sum {
    fn from(money: &Money) -> Sum {
        Sum {
            minor_units: money.minor_units.into(),
            exponent: money.exponent,
        }
    }
}

/// 1.5 and 1.50 are the same sum.
impl PartialEq for Sum {
    fn eq(&self, other: &Sum) -> bool {
        let plain = |sum: &Sum| {
            let mut sum = *sum;
            while sum.exponent > 0 && sum.minor_units % 10 == 0 {
                sum.minor_units /= 10;
                sum.exponent -= 1;
            }
            (sum.minor_units, sum.exponent)
        };
        plain(self) == plain(other)
    }
}

impl Eq for Sum {}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counted {
    pub count: u64,
    pub sum: Sum,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Figures(pub BTreeMap<FigureKey, Counted>);

impl Figures {
    pub const KINDS: [Kind; 3] = [Kind::Issue, Kind::Reverse, Kind::Void];
}

/// A row that is not the same in both tables; `None` where it is in one alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: FigureKey,
    pub theirs: Option<Counted>,
    pub ours: Option<Counted>,
}

/// Makes the table while a bundle is verified.
#[derive(Default)]
pub struct Reckoning {
    ours: Figures,
    /// Of each invoice: the place of its row among `rows`, and what is left of its amount.
    invoices: HashMap<[u8; 16], (u32, Sum)>,
    rows: Vec<FigureKey>,
    places: HashMap<FigureKey, u32>,
    missing: Missing,
    /// Records of drills' own writes.
    probes: u64,
    first: RecordIndex,
    end: TreeSize,
    selects: bool,
}

/// What is in no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Missing {
    /// OK records of these kinds whose opening is not shown.
    pub withheld: u64,
    /// Voids of invoices that were issued before the first record, or are not shown.
    pub voids: u64,
    /// Reversals of all that was left of such an invoice, which state no total either.
    pub reversals: u64,
    /// Amounts too large to be added.
    pub amounts: u64,
}

impl Missing {
    fn total(self) -> u64 {
        self.withheld + self.voids + self.reversals + self.amounts
    }
}

impl Reckoning {
    pub fn new() -> Reckoning {
        Reckoning::default()
    }

    pub fn figures(&self) -> &Figures {
        &self.ours
    }

    pub fn missing(&self) -> Missing {
        self.missing
    }

    pub fn differences(&self, theirs: &Figures) -> Vec<Difference> {
        let keys = self.ours.0.keys().chain(theirs.0.keys());
        let keys: std::collections::BTreeSet<&FigureKey> = keys.collect();
        keys.into_iter()
            .map(|key| Difference {
                key: key.clone(),
                theirs: theirs.0.get(key).copied(),
                ours: self.ours.0.get(key).copied(),
            })
            .filter(|row| row.theirs != row.ours)
            .collect()
    }

    /// Compares with the caller's table, where there is one.
    pub fn conclude(self, theirs: Option<&Figures>, report: Report) -> Audited {
        let differences = theirs.map(|theirs| self.differences(theirs));
        let ending = match &differences {
            Some(rows) if !rows.is_empty() => Ending::Fault(FindingClass::Reconciliation),
            Some(_) if self.missing.total() > 0 || self.selects => {
                Ending::Fault(FindingClass::MissingData)
            }
            _ => Ending::Answered,
        };
        let answer = AuditAnswer {
            ending,
            text: self.text(differences.as_deref(), report.holds()),
            value: self.value(differences.as_deref()),
        };
        Audited { report, answer }
    }

    fn text(&self, differences: Option<&[Difference]>, holds: bool) -> String {
        let mut text = format!(
            "Figures     {} rows from the records {}..{}\n",
            self.ours.0.len(),
            self.first,
            self.end
        );
        let Missing {
            withheld,
            voids,
            reversals,
            amounts,
        } = self.missing;
        for (count, what) in [
            (withheld, "records are not shown (erased or withheld)"),
            (
                voids,
                "voids are of invoices that are not among these records",
            ),
            (
                reversals,
                "reversals take all that is left of invoices that are not among these records",
            ),
            (amounts, "amounts are too large to be added"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "In no row   {count} {what}");
            }
        }
        if self.probes > 0 {
            let probes = self.probes;
            let _ = writeln!(
                text,
                "Not counted {probes} probes of drills (tenant {DRILL_TENANT})"
            );
        }
        if self.selects {
            let _ = writeln!(
                text,
                "The bundle is a selection, which may leave records out."
            );
        }
        match differences {
            None => {
                for (key, counted) in &self.ours.0 {
                    let _ = writeln!(text, "  {}: {}", shown(&key.title()), counted.text());
                }
            }
            Some([]) if holds && self.missing.total() == 0 && !self.selects => {
                text += "Reconciled: every row is the same in both.\n";
            }
            Some([]) => {
                text += "Not reconciled: the rows are the same, but that is not enough.\n";
            }
            Some(rows) => {
                let _ = writeln!(text, "RECONCILIATION: {} rows differ.", rows.len());
                for row in rows {
                    let _ = writeln!(text, "  {}", shown(&row.text()));
                }
            }
        }
        text
    }

    fn value(&self, differences: Option<&[Difference]>) -> Value {
        let rows = self.ours.0.iter().map(|(key, counted)| {
            let mut members = key.members();
            members.extend(counted.members());
            Value::Object(members)
        });
        let differences = differences.map(|rows| {
            Value::list(rows.iter().map(|row| {
                let side = |side: &Option<Counted>| {
                    Value::from(side.map(|counted| Value::Object(counted.members())))
                };
                let mut members = row.key.members();
                members.push(("theirs".to_owned(), side(&row.theirs)));
                members.push(("ours".to_owned(), side(&row.ours)));
                Value::Object(members)
            }))
        });
        Value::object([
            ("first", self.first.into()),
            ("end", self.end.into()),
            ("selects", self.selects.into()),
            ("differences", differences.into()),
            ("withheld", self.missing.withheld.into()),
            ("voids_unplaced", self.missing.voids.into()),
            ("reversals_unplaced", self.missing.reversals.into()),
            ("amounts_unsummed", self.missing.amounts.into()),
            ("probes", self.probes.into()),
            ("rows", Value::list(rows)),
        ])
    }

    fn issue(&mut self, d: &IssueDocument, record: &Record) {
        let total = d.metadata.total.as_ref();
        let currency = total.map_or_else(String::new, |total| total.currency.clone());
        let amount = total.map_or(Sum::default(), Sum::from);
        self.place(d, record, currency, amount);
    }

    /// What was taken off decides, not the total that the reversal states, if it states one.
    fn reverse(&mut self, d: &IssueDocument, record: &Record) {
        let Some((uid, said)) = reversal(d) else {
            return self.issue(d, record);
        };
        let target = self.invoices.get(&uid).copied();
        let row = target.and_then(|(place, _)| self.rows.get(usize::try_from(place).ok()?));
        let taken = match (said, target, row) {
            (Some(amount), ..) => Some((amount.currency.clone(), Sum::from(amount))),
            (None, Some((_, left)), Some(row)) => Some((row.currency.clone(), left)),
            // The reversal's own total is all there is to go by.
            (None, ..) if d.metadata.total.is_some() => return self.issue(d, record),
            (None, ..) => None,
        };
        let Some((currency, taken)) = taken else {
            self.missing.reversals += 1;
            return;
        };
        let Some(taken_off) = taken.taken_off() else {
            self.missing.amounts += 1;
            return;
        };
        if let Some((_, left)) = self.invoices.get_mut(&uid) {
            match left.plus(taken_off) {
                Some(rest) => *left = rest,
                None => self.missing.amounts += 1,
            }
        }
        self.place(d, record, currency, taken_off);
    }

    /// Counts an invoice in its row, and remembers it for what is taken off it or void.
    fn place(&mut self, d: &IssueDocument, record: &Record, currency: String, amount: Sum) {
        let key = FigureKey {
            issuer: d.metadata.identity.issuer.clone(),
            month: month(&d.metadata.issue_date, record.committed_at_ms),
            currency,
            kind: record.statement.kind,
        };
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => {
                // Rows are far fewer than records, and those are counted in memory too.
                let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
                self.rows.push(key.clone());
                self.places.insert(key.clone(), place);
                place
            }
        };
        self.invoices.insert(d.uid, (place, amount));
        self.count(key, amount);
    }

    fn void(&mut self, uid: &[u8; 16]) {
        let invoice = self.invoices.get(uid).copied();
        let row = invoice.and_then(|(place, amount)| {
            let row = self.rows.get(usize::try_from(place).ok()?)?;
            Some((row.clone(), amount))
        });
        match row {
            Some((row, amount)) => {
                let kind = Kind::Void;
                self.count(FigureKey { kind, ..row }, amount);
            }
            None => self.missing.voids += 1,
        }
    }

    fn count(&mut self, key: FigureKey, amount: Sum) {
        let counted = self.ours.0.entry(key).or_default();
        counted.count += 1;
        match counted.sum.plus(amount) {
            Some(sum) if sum.exponent <= Sum::EXPONENT_MAX => counted.sum = sum,
            _ => self.missing.amounts += 1,
        }
    }
}

impl Observer for Reckoning {
    fn begin(&mut self, manifest: &Manifest) {
        (self.first, self.end) = (manifest.first, manifest.end);
        self.selects = !manifest.selection.is_empty();
    }

    fn see(&mut self, seen: SeenRecord<'_>) {
        let counts = Figures::KINDS.contains(&seen.record.statement.kind);
        if seen.record.outcome != Outcome::Ok || !counts {
            return;
        }
        match seen.document {
            Some(document) if is_probe(document) => self.probes += 1,
            Some(Document::Issue(d)) => self.issue(d, seen.record),
            Some(Document::Reverse(d)) => self.reverse(d, seen.record),
            Some(Document::Void(d)) => self.void(&d.uid),
            _ => self.missing.withheld += 1,
        }
    }
}

/// Whether a drill wrote it.
fn is_probe(document: &Document) -> bool {
    let tenant = match document {
        Document::Issue(d) | Document::Reverse(d) => &d.metadata.identity.tenant,
        Document::Void(d) => &d.tenant,
        _ => return false,
    };
    tenant == DRILL_TENANT
}

/// Of the issue date; of the commitment, in UTC, where that says none.
fn month(issue_date: &str, committed_at_ms: u64) -> String {
    match issue_date.get(..7) {
        Some(month) if is_month(month) => month.to_owned(),
        _ => utc(committed_at_ms).chars().take(7).collect(),
    }
}

/// `YYYY-MM`.
pub(crate) fn is_month(text: &str) -> bool {
    let digit = |range: std::ops::Range<usize>| {
        let bytes = text.as_bytes().get(range);
        bytes.is_some_and(|bytes| bytes.iter().all(u8::is_ascii_digit))
    };
    text.len() == 7
        && digit(0..4)
        && text.as_bytes()[4] == b'-'
        && digit(5..7)
        && ("01"..="12").contains(&&text[5..])
}

impl FigureKey {
    fn title(&self) -> String {
        let currency = match self.currency.as_str() {
            "" => "no currency",
            currency => currency,
        };
        format!("{} {} {currency} {}", self.issuer, self.month, self.kind)
    }

    fn members(&self) -> Vec<(String, Value)> {
        let text = |name: &str, text: &str| (name.to_owned(), Value::from(text));
        vec![
            text("issuer", &self.issuer),
            text("month", &self.month),
            text("currency", &self.currency),
            text("kind", self.kind.name()),
        ]
    }
}

impl Counted {
    fn text(&self) -> String {
        format!("count {}, sum {}", self.count, self.sum)
    }

    fn members(&self) -> Vec<(String, Value)> {
        vec![
            ("count".to_owned(), self.count.into()),
            // Text: programs that read numbers as floating point would round it.
            ("sum".to_owned(), self.sum.to_string().into()),
        ]
    }
}

impl Difference {
    fn text(&self) -> String {
        let title = self.key.title();
        match (&self.theirs, &self.ours) {
            (Some(theirs), Some(ours)) => {
                format!("{title}: theirs {}; ours {}", theirs.text(), ours.text())
            }
            (Some(theirs), None) => format!("{title}: only theirs, {}", theirs.text()),
            (None, Some(ours)) => format!("{title}: only ours, {}", ours.text()),
            (None, None) => title,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_and_do_not_overflow_in_silence() {
        let sum = |text: &str| Sum::parse(text).unwrap();
        assert_eq!(sum("1.5"), sum("1.50"));
        assert_ne!(sum("1.5"), sum("1.05"));
        assert_eq!(sum("-0.0"), sum("0"));
        assert_eq!(sum("1.5").plus(sum("-2.255")), Some(sum("-0.755")));
        let large = Sum {
            minor_units: i128::MAX,
            exponent: 0,
        };
        assert_eq!(large.plus(sum("1")), None);
        assert_eq!(large.plus(sum("0.1")), None);
    }

    #[test]
    fn the_month_is_that_of_the_issue_date_if_there_is_one() {
        assert_eq!(month("2026-02-28", 0), "2026-02");
        assert_eq!(month("2026-02-28+08:00", 0), "2026-02");
        assert_eq!(month("", 951_782_400_000), "2000-02");
        assert_eq!(month("soon", 0), "1970-01");
    }
}
