//! Openings: the salted, erasable details behind a statement's two commitments.
//!
//! Promises: one canonical encoding per opening, led by a version byte and the kind, so
//! that the same bytes commit to the same meaning. The document says what was done, the
//! actor says for whom; they are committed to apart, so that one can be erased alone.
//! Leaves checking the content (limits, uniqueness) to the ledger.
//!
//! Tests: `evidence/tests/documents.rs`, `evidence/tests/formats.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::codes::coded;
use crate::digest::{Digest, tag};
pub use crate::drill::{DrillDocument, ReadGap};
use crate::ids::{BodyId, NodeId, RecordIndex, UploadEpoch};
pub use crate::invoice::{
    AlternativeId, AttestedDate, Identity, Label, Metadata, Money, Party, Reference, Rendition,
    TaxSubtotal, content_digest, rendition_digest,
};
use crate::invoice::{read_rendition, write_rendition};
use crate::key::{PublicKey, Signature};
pub use crate::keychange::KeyDocument;
pub use crate::mode::ModeDocument;
pub use crate::planned::PlannedDocument;
pub use crate::scrub::{DamageKind, How, ScrubDocument, ScrubOutcome};
use crate::statement::Kind;
pub use crate::system::{
    AnchorDocument, AnchoredBy, BootDocument, BootOutbox, GenesisDocument, LeaderDocument, Member,
    MembershipDocument, PolicyDocument, Setting,
};

/// Makes a guessable opening unguessable; zero for public (system) openings.
pub type Salt = [u8; 32];

pub const PUBLIC_SALT: Salt = [0; 32];

/// The commitment of a statement to what was done.
pub fn commit_document(salt: &Salt, opening: &[u8]) -> Digest {
    Digest::of(&[tag::DOCUMENT, salt, opening])
}

/// The commitment of a statement to who asked.
pub fn commit_actor(salt: &Salt, opening: &[u8]) -> Digest {
    Digest::of(&[tag::ACTOR, salt, opening])
}

/// A committed-to byte string with its salt, as stored and as shown to auditors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub salt: Salt,
    pub bytes: Vec<u8>,
}

impl Opening {
    /// Without salt: for system kinds.
    pub fn public(bytes: Vec<u8>) -> Opening {
        Opening {
            salt: PUBLIC_SALT,
            bytes,
        }
    }
}

/// Who asked: committed to apart from what was asked, and with a salt wherever it is a person.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Actor {
    /// Who vouches for the subject: the issuer of its token, or its certificate's authority.
    pub issuer: String,
    /// The authenticated name, or `anonymous`; empty for the system itself.
    pub subject: String,
    /// The tenant for which it acts.
    pub tenant: String,
    pub roles: Vec<String>,
    /// How it was authenticated, as in `mtls`; empty where it was not.
    pub authenticated: String,
    /// Address of the client, without its port.
    pub address: String,
    /// What the client calls itself.
    pub agent: String,
    /// For whom it says that it acts.
    pub on_behalf_of: String,
    /// Id of the link that was followed.
    pub link: String,
    /// Its own signature, as it was presented; nobody here judges it.
    pub signature: Option<CallerSignature>,
}

/// What a caller signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerSignature {
    /// FORMAT.md, section 1.4.
    pub algorithm: u8,
    pub key: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Actor {
    /// Whether nobody but the system itself asked.
    pub fn is_system(&self) -> bool {
        *self == Actor::default()
    }

    /// Name and issuer, where there is one.
    pub fn who(&self) -> String {
        match (self.subject.as_str(), self.issuer.as_str()) {
            ("", _) => "the system itself".to_owned(),
            (subject, "") => subject.to_owned(),
            (subject, issuer) => format!("{subject} of {issuer}"),
        }
    }
}

coded! {
    /// Where a body is held.
    pub enum HoldingKind {
        /// On the disks of the node that says so.
        Node = 1 "NODE",
        /// In a store outside of the ledger, where the node that says so has put or found it.
        Store = 2 "STORE",
    }
}

/// A holder's signed word that a body is durable there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub kind: HoldingKind,
    pub ledger: Digest,
    pub body_id: BodyId,
    pub sha256: Digest,
    /// Root of its chunk tree: see [`crate::chunks`].
    pub chunk_root: Digest,
    pub length: u64,
    pub node: NodeId,
    /// Changes when the node's disk is wiped or restored.
    pub incarnation: [u8; 16],
    /// The node's; of a body in a store, the store's name.
    pub zone: String,
    /// Replicated upload epoch at the time of holding.
    pub epoch: UploadEpoch,
    pub signature: Signature,
}

/// What an ISSUE or REVERSE statement commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueDocument {
    pub uid: [u8; 16],
    pub request_id: String,
    pub metadata: Metadata,
    pub renditions: Vec<Rendition>,
    pub holdings: Vec<Holding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddRenditionDocument {
    pub tenant: String,
    pub uid: [u8; 16],
    pub request_id: String,
    pub rendition: Rendition,
    pub holdings: Vec<Holding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadDocument {
    pub tenant: String,
    pub uid: [u8; 16],
    pub role: String,
    pub sha256: Digest,
    /// Root of the chunk tree, so that the bytes of a range are provable too.
    pub chunk_root: Digest,
    /// The range about to be sent: `start..end` of `length`.
    pub start: u64,
    pub end: u64,
    pub length: u64,
    /// Of a deferred download: until when, by committed_at, it is to be on record.
    pub deadline_ms: Option<u64>,
}

impl DownloadDocument {
    /// Bytes of its range; `None` where that does not lie within the length.
    pub fn bytes(&self) -> Option<u64> {
        let bytes = self.end.checked_sub(self.start);
        bytes.filter(|_| self.end <= self.length)
    }
}

/// What a DOWNLOAD_END says: of one tenant's downloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadEndDocument {
    pub tenant: String,
    pub downloads: Vec<Delivered>,
}

/// Bytes handed to the transport for one DOWNLOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Index of the DOWNLOAD record.
    pub download: RecordIndex,
    pub bytes: u64,
    /// Whether the last byte of the range was handed over.
    pub complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoidDocument {
    pub tenant: String,
    pub uid: [u8; 16],
    pub request_id: String,
    pub reason: String,
}

/// What was done, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Genesis(GenesisDocument),
    Boot(BootDocument),
    Issue(IssueDocument),
    AddRendition(AddRenditionDocument),
    Download(DownloadDocument),
    DownloadEnd(DownloadEndDocument),
    Reverse(IssueDocument),
    Void(VoidDocument),
    Membership(MembershipDocument),
    Leader(LeaderDocument),
    Key(KeyDocument),
    Anchor(AnchorDocument),
    Drill(DrillDocument),
    Policy(PolicyDocument),
    Scrub(ScrubDocument),
    Mode(ModeDocument),
    /// Of a kind whose bytes came before its feature.
    Planned(PlannedDocument),
}

const VERSION: u8 = 1;

/// Every opening of a document begins so.
pub(crate) fn begin(kind: Kind) -> Writer {
    let mut w = Writer::new();
    w.u8(VERSION).u8(kind.code());
    w
}

impl Document {
    pub fn kind(&self) -> Kind {
        match self {
            Document::Genesis(_) => Kind::Genesis,
            Document::Boot(_) => Kind::Boot,
            Document::Issue(_) => Kind::Issue,
            Document::AddRendition(_) => Kind::AddRendition,
            Document::Download(_) => Kind::Download,
            Document::DownloadEnd(_) => Kind::DownloadEnd,
            Document::Reverse(_) => Kind::Reverse,
            Document::Void(_) => Kind::Void,
            Document::Membership(_) => Kind::Membership,
            Document::Leader(_) => Kind::Leader,
            Document::Key(_) => Kind::Key,
            Document::Anchor(_) => Kind::Anchor,
            Document::Drill(_) => Kind::Drill,
            Document::Policy(_) => Kind::Policy,
            Document::Scrub(_) => Kind::Scrub,
            Document::Mode(_) => Kind::Mode,
            Document::Planned(d) => d.kind(),
        }
    }

    /// Those that it names; none but where bodies came in.
    pub fn holdings(&self) -> &[Holding] {
        match self {
            Document::Issue(d) | Document::Reverse(d) => &d.holdings,
            Document::AddRendition(d) => &d.holdings,
            _ => &[],
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = begin(self.kind());
        match self {
            Document::Genesis(d) => d.write(&mut w),
            Document::Boot(d) => d.write(&mut w),
            Document::Issue(d) | Document::Reverse(d) => {
                w.raw(&d.uid).text(&d.request_id);
                d.metadata.write(&mut w);
                w.list(&d.renditions, write_rendition);
                w.list(&d.holdings, write_holding);
            }
            Document::AddRendition(d) => {
                w.text(&d.tenant).raw(&d.uid).text(&d.request_id);
                write_rendition(&mut w, &d.rendition);
                w.list(&d.holdings, write_holding);
            }
            Document::Download(d) => {
                w.text(&d.tenant).raw(&d.uid).text(&d.role);
                w.digest(&d.sha256).digest(&d.chunk_root);
                w.u64(d.start).u64(d.end).u64(d.length);
                w.option(d.deadline_ms.as_ref(), |w, deadline| {
                    w.u64(*deadline);
                });
            }
            Document::DownloadEnd(d) => {
                w.text(&d.tenant).list(&d.downloads, |w, d| {
                    w.u64(d.download.get())
                        .u64(d.bytes)
                        .u8(u8::from(d.complete));
                });
            }
            Document::Void(d) => {
                w.text(&d.tenant).raw(&d.uid);
                w.text(&d.request_id).text(&d.reason);
            }
            Document::Membership(d) => d.write(&mut w),
            Document::Leader(d) => d.write(&mut w),
            Document::Key(d) => d.write(&mut w),
            Document::Anchor(d) => d.write(&mut w),
            Document::Drill(d) => d.write(&mut w),
            Document::Policy(d) => d.write(&mut w),
            Document::Scrub(d) => d.write(&mut w),
            Document::Mode(d) => d.write(&mut w),
            Document::Planned(d) => d.write(&mut w),
        }
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Document, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("opening version 1"));
        }
        let kind = Kind::from_code(r.u8()?).ok_or_else(|| r.error("a known kind"))?;
        let document = match kind {
            Kind::Genesis => Document::Genesis(GenesisDocument::read(&mut r)?),
            Kind::Boot => Document::Boot(BootDocument::read(&mut r)?),
            Kind::Issue => Document::Issue(read_issue(&mut r)?),
            Kind::Reverse => Document::Reverse(read_issue(&mut r)?),
            Kind::AddRendition => Document::AddRendition(AddRenditionDocument {
                tenant: r.text()?,
                uid: r.array()?,
                request_id: r.text()?,
                rendition: read_rendition(&mut r)?,
                holdings: r.list(read_holding)?,
            }),
            Kind::Download => Document::Download(DownloadDocument {
                tenant: r.text()?,
                uid: r.array()?,
                role: r.text()?,
                sha256: r.digest()?,
                chunk_root: r.digest()?,
                start: r.u64()?,
                end: r.u64()?,
                length: r.u64()?,
                deadline_ms: r.option(Reader::u64)?,
            }),
            Kind::DownloadEnd => Document::DownloadEnd(DownloadEndDocument {
                tenant: r.text()?,
                downloads: r.list(|r| {
                    Ok(Delivered {
                        download: RecordIndex::read(r)?,
                        bytes: r.u64()?,
                        complete: r.flag()?,
                    })
                })?,
            }),
            Kind::Void => Document::Void(VoidDocument {
                tenant: r.text()?,
                uid: r.array()?,
                request_id: r.text()?,
                reason: r.text()?,
            }),
            Kind::Membership => Document::Membership(MembershipDocument::read(&mut r)?),
            Kind::Leader => Document::Leader(LeaderDocument::read(&mut r)?),
            Kind::Key => Document::Key(KeyDocument::read(&mut r)?),
            Kind::Anchor => Document::Anchor(AnchorDocument::read(&mut r)?),
            Kind::Drill => Document::Drill(DrillDocument::read(&mut r)?),
            Kind::Policy => Document::Policy(PolicyDocument::read(&mut r)?),
            Kind::Scrub => Document::Scrub(ScrubDocument::read(&mut r)?),
            Kind::Mode => Document::Mode(ModeDocument::read(&mut r)?),
            planned => Document::Planned(PlannedDocument::read(planned, &mut r)?),
        };
        r.end()?;
        Ok(document)
    }
}

impl Actor {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).text(&self.issuer).text(&self.subject);
        w.text(&self.tenant).list(&self.roles, |w, role| {
            w.text(role);
        });
        w.text(&self.authenticated).text(&self.address);
        w.text(&self.agent).text(&self.on_behalf_of);
        w.text(&self.link).option(self.signature.as_ref(), |w, s| {
            w.u8(s.algorithm).bytes(&s.key).bytes(&s.signature);
        });
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Actor, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("opening version 1"));
        }
        let actor = Actor {
            issuer: r.text()?,
            subject: r.text()?,
            tenant: r.text()?,
            roles: r.list(Reader::text)?,
            authenticated: r.text()?,
            address: r.text()?,
            agent: r.text()?,
            on_behalf_of: r.text()?,
            link: r.text()?,
            signature: r.option(|r| {
                Ok(CallerSignature {
                    algorithm: r.u8()?,
                    key: r.bytes()?.to_vec(),
                    signature: r.bytes()?.to_vec(),
                })
            })?,
        };
        r.end()?;
        Ok(actor)
    }
}

impl Holding {
    /// The bytes that the holder signs: everything but the signature.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(tag::HOLDING);
        self.write_unsigned(&mut w);
        w.finish()
    }

    pub fn verify(&self, key: &PublicKey) -> bool {
        key.verify(&self.signed_bytes(), &self.signature)
    }

    /// As it travels between nodes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        write_holding(&mut w, self);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Holding, DecodeError> {
        let mut r = Reader::new(bytes);
        let holding = read_holding(&mut r)?;
        r.end()?;
        Ok(holding)
    }

    fn write_unsigned(&self, w: &mut Writer) {
        w.u8(self.kind as u8)
            .digest(&self.ledger)
            .raw(self.body_id.as_bytes())
            .digest(&self.sha256)
            .digest(&self.chunk_root)
            .u64(self.length)
            .u64(self.node.get())
            .raw(&self.incarnation)
            .text(&self.zone)
            .u64(self.epoch.get());
    }
}

fn write_holding(w: &mut Writer, holding: &Holding) {
    holding.write_unsigned(w);
    w.raw(&holding.signature.0);
}

fn read_holding(r: &mut Reader<'_>) -> Result<Holding, DecodeError> {
    Ok(Holding {
        kind: HoldingKind::from_code(r.u8()?).ok_or_else(|| r.error("a kind of holding"))?,
        ledger: r.digest()?,
        body_id: BodyId::new(r.array()?),
        sha256: r.digest()?,
        chunk_root: r.digest()?,
        length: r.u64()?,
        node: NodeId::read(r)?,
        incarnation: r.array()?,
        zone: r.text()?,
        epoch: UploadEpoch::read(r)?,
        signature: Signature(r.array()?),
    })
}

fn read_issue(r: &mut Reader<'_>) -> Result<IssueDocument, DecodeError> {
    Ok(IssueDocument {
        uid: r.array()?,
        request_id: r.text()?,
        metadata: Metadata::read(r)?,
        renditions: r.list(read_rendition)?,
        holdings: r.list(read_holding)?,
    })
}
