//! Statements as a busy ledger's nodes would make them, signed for real, one after another.
//!
//! Promises: the same sites and beginnings give the same bytes; every statement would take
//! effect; memory for one round only. One ISSUE comes to two DOWNLOADs, and the ends of a
//! round's downloads stand in one DOWNLOAD_END. Leaves position, chain and tree to whoever
//! makes records of them. Shared by what measures the verifier and what fills a store.

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{BodyId, NodeId, RecordIndex, Sequence, UploadEpoch};
use muniment_evidence::key::{SecretKey, Signature, Signer as _};
use muniment_evidence::opening::{
    Actor, BootDocument, Delivered, Document, DownloadDocument, DownloadEndDocument, Holding,
    HoldingKind, Identity, IssueDocument, Label, Metadata, Money, Opening, PUBLIC_SALT, Party,
    Rendition, TaxSubtotal, commit_actor, commit_document,
};
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};

/// ISSUEs of a round; each comes to two DOWNLOADs, and all of these to one DOWNLOAD_END.
pub const ISSUES_PER_ROUND: u64 = 4;
const DOWNLOADS_PER_ISSUE: u64 = 2;
/// Statements of a round.
pub const ROUND: u64 = ISSUES_PER_ROUND * (1 + DOWNLOADS_PER_ISSUE) + 1;

/// Who holds an invoice when its level is met, which is when it is issued: two zones.
const HOLDERS: usize = 2;

/// A common size of a one-page invoice.
const BODY_BYTES: u64 = 38_000;

/// A node that makes statements.
#[derive(Clone)]
pub struct Site {
    pub node: u64,
    pub zone: String,
    pub incarnation: [u8; 16],
    pub key: SecretKey,
    /// Where its boot lane stands: the next seq, and the hash of the statement before.
    pub boots: (u64, Digest),
}

/// A statement on its way into a log, with what it commits to.
pub struct Written {
    pub statement: Statement,
    pub signature: Signature,
    pub document: Opening,
    pub actor: Opening,
}

/// See the module.
pub struct Traffic {
    ledger: Digest,
    signers: Vec<TestSigner>,
    /// The index that the next statement's record will have.
    next: u64,
    time_ms: u64,
    /// Statements since the boots.
    made: u64,
    issued: Option<Issued>,
    /// Downloads of the round, by their records.
    under_way: Vec<u64>,
}

struct TestSigner {
    site: Site,
    lane: Lane,
    seq: u64,
    prev: Digest,
}

#[derive(Clone, Copy)]
struct Issued {
    uid: [u8; 16],
    sha256: Digest,
}

impl Traffic {
    /// All sites boot before anything else is said; `next` is the first boot's index.
    pub fn new(ledger: Digest, sites: Vec<Site>, next: u64, time_ms: u64) -> Traffic {
        assert!(!sites.is_empty(), "someone has to make statements");
        let signers = sites.into_iter().map(|site| TestSigner {
            lane: Lane::Boot,
            seq: site.boots.0,
            prev: site.boots.1,
            site,
        });
        Traffic {
            ledger,
            signers: signers.collect(),
            next,
            time_ms,
            made: 0,
            issued: None,
            under_way: Vec::new(),
        }
    }

    /// The clock of all nodes; a statement takes a millisecond.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The next statement; the record before it must be at the index before.
    pub fn write(&mut self) -> Written {
        let sites = self.signers.len() as u64;
        if let Some(at) = self
            .signers
            .iter()
            .position(|signer| signer.lane == Lane::Boot)
        {
            return self.boot(at);
        }
        let (round, step) = (self.made / ROUND, self.made % ROUND);
        self.made += 1;
        let at = (round % sites) as usize;
        if step == ROUND - 1 {
            let ends = self.under_way.drain(..).map(|download| Delivered {
                download: RecordIndex::new(download),
                bytes: BODY_BYTES,
                complete: true,
            });
            let document = Document::DownloadEnd(DownloadEndDocument {
                tenant: "default".into(),
                downloads: ends.collect(),
            });
            return self.sign(at, &document);
        }
        match (step % (1 + DOWNLOADS_PER_ISSUE), self.issued) {
            (1.., Some(issued)) => {
                self.under_way.push(self.next);
                self.sign(at, &download(&issued))
            }
            _ => {
                let issuer = ((round + step) % sites) as usize;
                let document = Document::Issue(self.invoice());
                self.sign(issuer, &document)
            }
        }
    }

    fn boot(&mut self, at: usize) -> Written {
        let site = &self.signers[at].site;
        let document = Document::Boot(BootDocument {
            incarnation: site.incarnation,
            statement_key: site.key.public(),
            software: "traffic".into(),
            outboxes: Vec::new(),
        });
        let lane = Lane::Strict(RecordIndex::new(self.next));
        let written = self.sign(at, &document);
        let signer = &mut self.signers[at];
        (signer.lane, signer.seq, signer.prev) = (lane, 0, Digest::ZERO);
        written
    }

    fn sign(&mut self, at: usize, document: &Document) -> Written {
        let kind = document.kind();
        let actor = match kind.is_system() {
            true => Actor::default(),
            false => Actor {
                subject: "billing.example".into(),
                address: "192.0.2.17".into(),
                agent: "traffic".into(),
                ..Actor::default()
            },
        };
        let salt = |part: u8| match kind.is_system() {
            true => PUBLIC_SALT,
            false => Digest::of(&[b"salt", &self.next.to_be_bytes(), &[part]]).0,
        };
        let document = Opening {
            salt: salt(1),
            bytes: document.encode(),
        };
        let actor = Opening {
            salt: salt(2),
            bytes: actor.encode(),
        };
        self.time_ms += 1;
        let signer = &mut self.signers[at];
        let statement = Statement {
            kind,
            mode: match kind {
                Kind::Download => Mode::Strict,
                _ => Mode::None,
            },
            level: match kind {
                Kind::Issue => Level::Quorum,
                _ => Level::None,
            },
            ledger: self.ledger,
            node: NodeId::new(signer.site.node),
            lane: signer.lane,
            seq: Sequence::new(signer.seq),
            prev: signer.prev,
            witnessed_at_ms: self.time_ms,
            document: commit_document(&document.salt, &document.bytes),
            actor: commit_actor(&actor.salt, &actor.bytes),
        };
        signer.seq += 1;
        signer.prev = statement.hash();
        self.next += 1;
        Written {
            signature: signer.site.key.sign(&statement.signed_bytes()),
            statement,
            document,
            actor,
        }
    }

    fn invoice(&mut self) -> IssueDocument {
        let number = self.next;
        let named = |what: &[u8]| Digest::of(&[what, &number.to_be_bytes()]);
        let id = |what: &[u8]| {
            let mut id = [0; 16];
            id.copy_from_slice(&named(what).0[..16]);
            id
        };
        let (uid, body_id, sha256) = (id(b"uid"), id(b"body"), named(b"sha256"));
        self.issued = Some(Issued { uid, sha256 });
        let holding = |site: &Site| {
            let mut holding = Holding {
                kind: HoldingKind::Node,
                ledger: self.ledger,
                body_id: BodyId::new(body_id),
                sha256,
                chunk_root: sha256,
                length: BODY_BYTES,
                node: NodeId::new(site.node),
                incarnation: site.incarnation,
                zone: site.zone.clone(),
                epoch: UploadEpoch::new(1),
                signature: Signature([0; 64]),
            };
            holding.signature = site.key.sign(&holding.signed_bytes());
            holding
        };
        let signers = self.signers.iter().cycle();
        let signers = signers.skip(number as usize % self.signers.len());
        let holders = signers.take(HOLDERS.min(self.signers.len()));
        IssueDocument {
            uid,
            request_id: format!("order-{number}"),
            metadata: metadata(number),
            renditions: vec![Rendition {
                role: "original".into(),
                media_type: "application/pdf".into(),
                length: BODY_BYTES,
                sha256,
                chunk_root: sha256,
                body_id: BodyId::new(body_id),
            }],
            holdings: holders.map(|signer| holding(&signer.site)).collect(),
        }
    }
}

fn metadata(number: u64) -> Metadata {
    let money = |minor_units: u64| Money {
        minor_units: minor_units as i64,
        currency: "EUR".into(),
        exponent: 2,
    };
    let party = |id: String, name: &str| {
        Some(Party {
            scheme: "vat".into(),
            id,
            name: name.into(),
        })
    };
    let net = 1_000 + number % 1_000_000;
    Metadata {
        identity: Identity {
            tenant: "default".into(),
            scheme: "generic".into(),
            issuer: "DE123456789".into(),
            number: format!("2026-{number:08}"),
            period: "2026".into(),
        },
        type_code: "380".into(),
        issue_date: "2026-11-24".into(),
        seller: party("DE123456789".into(), "Example Works GmbH"),
        buyer: party(format!("FR{:011}", number % 5_000), "Un client"),
        total: Some(money(net + net * 19 / 100)),
        tax: vec![TaxSubtotal {
            category: "S".into(),
            rate_millionths: 190_000,
            taxable: money(net),
            tax: money(net * 19 / 100),
        }],
        labels: vec![Label {
            key: "cost-centre".into(),
            value: format!("{}", number % 97),
        }],
        ..Metadata::default()
    }
}

fn download(issued: &Issued) -> Document {
    Document::Download(DownloadDocument {
        tenant: "default".into(),
        uid: issued.uid,
        role: "original".into(),
        sha256: issued.sha256,
        chunk_root: issued.sha256,
        start: 0,
        end: BODY_BYTES,
        length: BODY_BYTES,
        deadline_ms: None,
    })
}
