//! The data of an invoice: identity, metadata, renditions, and what makes two the same.
//!
//! Promises one canonical encoding, as part of the openings of ISSUE and REVERSE, and one
//! digest that decides sameness. Leaves limits on the values to the ledger.
//!
//! Tests: `evidence/tests/documents.rs`, `evidence/tests/formats.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::{Digest, tag};
use crate::ids::BodyId;

/// Identity: what makes an invoice unique within a ledger, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Identity {
    pub tenant: String,
    /// The numbering scheme, such as `generic` or `cn.einvoice`.
    pub scheme: String,
    pub issuer: String,
    pub number: String,
    /// Empty where numbers are not reused per period.
    pub period: String,
}

/// A party by id; the name is optional.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Party {
    pub scheme: String,
    pub id: String,
    pub name: String,
}

/// i64 minor units, an ISO 4217 code and its exponent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Money {
    pub minor_units: i64,
    pub currency: String,
    pub exponent: u8,
}

/// A further identifier, such as a verification code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AlternativeId {
    pub scheme: String,
    pub value: String,
}

/// One tax subtotal.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TaxSubtotal {
    pub category: String,
    /// Millionths: 19 % is 190000.
    pub rate_millionths: u32,
    pub taxable: Money,
    pub tax: Money,
}

/// A reference to another document.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reference {
    /// `REVERSES`, `CORRECTS`, `PRECEDES`, or the scheme's own word.
    pub relation: String,
    /// Uid of an invoice of this ledger, or free text where it lies elsewhere.
    pub target: String,
    /// SHA-256 of the target's body, where known.
    pub sha256: Option<Digest>,
    pub amount: Option<Money>,
}

/// Free key and value of the issuing service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Label {
    pub key: String,
    pub value: String,
}

/// A date that the issuing service attests, such as that of an issue before this ledger was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AttestedDate {
    /// Of what: the scheme's own word.
    pub what: String,
    /// As the service writes it.
    pub date: String,
}

/// The neutral metadata of an invoice, apart from its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Metadata {
    pub identity: Identity,
    /// Sorted, without repetition.
    pub alternative_ids: Vec<AlternativeId>,
    /// The scheme's raw code, such as `380`.
    pub type_code: String,
    /// `YYYY-MM-DD`, with an offset (`+08:00`) where the scheme has one.
    pub issue_date: String,
    pub seller: Option<Party>,
    pub buyer: Option<Party>,
    pub total: Option<Money>,
    pub tax: Vec<TaxSubtotal>,
    pub references: Vec<Reference>,
    pub residency_domain: String,
    /// `YYYY-MM-DD` until which it must be kept; empty when not stated.
    pub retain_until: String,
    /// Sorted by key, without repetition.
    pub labels: Vec<Label>,
    /// Sorted, without repetition.
    pub dates: Vec<AttestedDate>,
}

/// One stored form of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    pub role: String,
    pub media_type: String,
    pub length: u64,
    pub sha256: Digest,
    /// Root of its chunk tree ([`crate::chunks`]); the bytes decide it, so it is not part of
    /// "the same content" either.
    pub chunk_root: Digest,
    /// UUIDv7; names the bytes, not their meaning, so not part of "the same content".
    pub body_id: BodyId,
}

impl Metadata {
    /// Bytes of its encoding.
    pub fn encoded_length(&self) -> usize {
        let mut w = Writer::new();
        self.write(&mut w);
        w.finish().len()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.identity.write(w);
        w.list(&self.alternative_ids, |w, id| {
            w.text(&id.scheme).text(&id.value);
        });
        w.text(&self.type_code).text(&self.issue_date);
        w.option(self.seller.as_ref(), write_party);
        w.option(self.buyer.as_ref(), write_party);
        w.option(self.total.as_ref(), write_money);
        w.list(&self.tax, |w, tax| {
            w.text(&tax.category).u32(tax.rate_millionths);
            write_money(w, &tax.taxable);
            write_money(w, &tax.tax);
        });
        w.list(&self.references, |w, reference| {
            w.text(&reference.relation).text(&reference.target);
            w.option(reference.sha256.as_ref(), |w, d| {
                w.digest(d);
            });
            w.option(reference.amount.as_ref(), write_money);
        });
        w.text(&self.residency_domain).text(&self.retain_until);
        w.list(&self.labels, |w, label| {
            w.text(&label.key).text(&label.value);
        });
        w.list(&self.dates, |w, date| {
            w.text(&date.what).text(&date.date);
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
        Ok(Metadata {
            identity: Identity::read(r)?,
            alternative_ids: r.list(|r| {
                Ok(AlternativeId {
                    scheme: r.text()?,
                    value: r.text()?,
                })
            })?,
            type_code: r.text()?,
            issue_date: r.text()?,
            seller: r.option(read_party)?,
            buyer: r.option(read_party)?,
            total: r.option(read_money)?,
            tax: r.list(|r| {
                Ok(TaxSubtotal {
                    category: r.text()?,
                    rate_millionths: r.u32()?,
                    taxable: read_money(r)?,
                    tax: read_money(r)?,
                })
            })?,
            references: r.list(|r| {
                Ok(Reference {
                    relation: r.text()?,
                    target: r.text()?,
                    sha256: r.option(Reader::digest)?,
                    amount: r.option(read_money)?,
                })
            })?,
            residency_domain: r.text()?,
            retain_until: r.text()?,
            labels: r.list(|r| {
                Ok(Label {
                    key: r.text()?,
                    value: r.text()?,
                })
            })?,
            dates: r.list(|r| {
                Ok(AttestedDate {
                    what: r.text()?,
                    date: r.text()?,
                })
            })?,
        })
    }
}

impl Identity {
    pub fn write(&self, w: &mut Writer) {
        w.text(&self.tenant)
            .text(&self.scheme)
            .text(&self.issuer)
            .text(&self.number)
            .text(&self.period);
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Identity, DecodeError> {
        Ok(Identity {
            tenant: r.text()?,
            scheme: r.text()?,
            issuer: r.text()?,
            number: r.text()?,
            period: r.text()?,
        })
    }
}

/// Decides what "the same invoice" is: the metadata and each rendition's role, media
/// type, length and digest. Uid, body ids, holdings and request id do not count.
pub fn content_digest(metadata: &Metadata, renditions: &[Rendition]) -> Digest {
    let mut w = Writer::new();
    metadata.write(&mut w);
    w.list(renditions, write_content);
    Digest::of(&[tag::METADATA, &w.finish()])
}

/// The same, for one rendition alone.
pub fn rendition_digest(rendition: &Rendition) -> Digest {
    let mut w = Writer::new();
    write_content(&mut w, rendition);
    Digest::of(&[tag::METADATA, &w.finish()])
}

fn write_content(w: &mut Writer, rendition: &Rendition) {
    w.text(&rendition.role)
        .text(&rendition.media_type)
        .u64(rendition.length)
        .digest(&rendition.sha256);
}

pub(crate) fn write_rendition(w: &mut Writer, rendition: &Rendition) {
    write_content(w, rendition);
    w.digest(&rendition.chunk_root);
    w.raw(rendition.body_id.as_bytes());
}

pub(crate) fn read_rendition(r: &mut Reader<'_>) -> Result<Rendition, DecodeError> {
    Ok(Rendition {
        role: r.text()?,
        media_type: r.text()?,
        length: r.u64()?,
        sha256: r.digest()?,
        chunk_root: r.digest()?,
        body_id: BodyId::new(r.array()?),
    })
}

fn write_party(w: &mut Writer, party: &Party) {
    w.text(&party.scheme).text(&party.id).text(&party.name);
}

fn read_party(r: &mut Reader<'_>) -> Result<Party, DecodeError> {
    Ok(Party {
        scheme: r.text()?,
        id: r.text()?,
        name: r.text()?,
    })
}

fn write_money(w: &mut Writer, money: &Money) {
    w.i64(money.minor_units)
        .text(&money.currency)
        .u8(money.exponent);
}

fn read_money(r: &mut Reader<'_>) -> Result<Money, DecodeError> {
    Ok(Money {
        minor_units: r.i64()?,
        currency: r.text()?,
        exponent: r.u8()?,
    })
}
