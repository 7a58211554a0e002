//! The ledger that every input begins on: filled once, with something of each kind.
//!
//! Three nodes vote and a fourth learns; invoices with renditions, downloads and their ends,
//! through outboxes too, reversals, a void; keys, an epoch and the members have changed, and
//! one more change of members is in preparation. Promises that all of it was OK, and keeps
//! what was said as [`Said`], for inputs to say again in other ways.

use crate::ledger::Ledger;
use crate::running::Running;
use muniment::domain::command::{Answer, Command, ProposedSubmission, Submission};
use muniment::domain::ids::{BodyId, NodeId, OutboxId, RecordIndex, Sequence, Term};
use muniment::ledger::policy::FEATURE_LEVEL;
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{Signature, Signer as _};
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::limits::UPLOAD_EPOCH_MS_MIN;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{
    Actor, AddRenditionDocument, AnchorDocument, AnchoredBy, BootDocument, BootOutbox, DamageKind,
    Delivered, Document, DownloadEndDocument, How, IssueDocument, LeaderDocument,
    MembershipDocument, ModeDocument, Opening, PolicyDocument, Reference, ScrubDocument,
    ScrubOutcome, Setting, VoidDocument, commit_actor, commit_document,
};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};
use muniment_evidence::system::UPLOAD_EPOCH;
use std::sync::LazyLock;

pub(crate) static FILLED: LazyLock<Filled> = LazyLock::new(Filled::fill);

/// Which of its lanes a node says something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum In {
    Boot,
    /// Of its newest boot.
    Strict,
    Outbox,
}

/// Something to say: by whom, in which lane.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub node: u64,
    pub within: In,
    pub document: Document,
}

pub(crate) struct Filled {
    running: Running,
    /// What was said, in its order, and more that could be.
    pub said: Vec<Said>,
    /// The first of those that were not said.
    pub unsaid: usize,
}

impl Filled {
    /// The ledger, for one input.
    pub fn begin(&self) -> Running {
        self.running.copy()
    }

    fn fill() -> Filled {
        let source = Ledger::found(3);
        let mut filled = Filled {
            running: Running::empty(),
            said: Vec::new(),
            unsaid: 0,
        };
        filled.found(&source);
        let open = filled.trade(&source);
        let prepared = filled.change(&source);
        filled.unsaid = filled.said.len();
        filled.say_later(&source, open, prepared);
        filled.running = filled.running.copy();
        filled
    }

    fn found(&mut self, source: &Ledger) {
        let genesis = &source.entries[0];
        let first = Submission {
            statement: genesis.record.statement.clone(),
            signature: genesis.record.signature,
            document: genesis.document.clone(),
            actor: genesis.actor.clone(),
        };
        self.commit(first, genesis.record.committed_at_ms);
        assert_eq!(self.running.head().ledger, source.id, "the very record");
        for node in 1..=3 {
            self.say(node, In::Boot, boot(source, node));
        }
        let voters = vec![[1, 2, 3].map(NodeId::new).to_vec()];
        let log_index = self.running.members(voters.clone(), Vec::new());
        let membership = MembershipDocument {
            log_index,
            voters,
            learners: Vec::new(),
        };
        self.say(1, In::Strict, Document::Membership(membership));
        let log_index = self.running.lead(2);
        let leader = LeaderDocument {
            term: Term::new(2),
            leader: NodeId::new(2),
            log_index,
        };
        self.say(2, In::Strict, Document::Leader(leader));
    }

    /// A DOWNLOAD of node 2 that has not ended.
    fn trade(&mut self, source: &Ledger) -> u64 {
        for n in 1..=6 {
            self.say(
                1 + n % 3,
                In::Strict,
                Document::Issue(invoice(source, n as u8)),
            );
        }
        let first = invoice(source, 1);
        let mut open = Vec::new();
        for (node, within) in [
            (1, In::Strict),
            (2, In::Strict),
            (3, In::Outbox),
            (1, In::Strict),
        ] {
            let download = download(source, &first);
            open.push(self.say(node, within, download));
        }
        self.say(1, In::Strict, ended(&[open[0], open[3]]));
        self.say(3, In::Strict, ended(&[open[2]]));
        self.say(2, In::Strict, add_rendition(source, 2));
        let void = VoidDocument {
            tenant: "default".into(),
            uid: [3; 16],
            request_id: "void 3".into(),
            reason: "issued twice".into(),
        };
        self.say(1, In::Strict, Document::Void(void));
        self.say(1, In::Strict, reversal(source, 4, 20, Some(1000)));
        self.say(2, In::Strict, reversal(source, 4, 21, None));
        let scrub = ScrubDocument {
            body_id: BodyId::new([1; 16]),
            chunk: Some(0),
            found: DamageKind::ALL[0],
            how: How::ALL[0],
            outcome: ScrubOutcome::Quarantined,
        };
        self.say(3, In::Strict, Document::Scrub(scrub));
        let anchor = AnchorDocument {
            note: "a note".into(),
            by: AnchoredBy::Witness("outside.example".into()),
        };
        self.say(3, In::Strict, Document::Anchor(anchor));
        open[1]
    }

    /// The PREPARE of the change that is not done.
    fn change(&mut self, source: &Ledger) -> u64 {
        let fourth = source.key(4);
        let add = source.node_change(Action::Add, Role::Statement, 4, &fourth);
        let change = source.key_document(vec![add], &[fourth]);
        self.say(1, In::Strict, Document::Key(change));
        self.say(4, In::Boot, boot(source, 4));
        let prepared = self.say(1, In::Strict, mode(Phase::Prepare, 0, None));
        self.say(1, In::Strict, mode(Phase::Done, 0, Some(prepared)));
        let prepared = self.say(1, In::Strict, mode(Phase::Prepare, 1, None));
        let policy = PolicyDocument {
            settings: vec![Setting {
                name: UPLOAD_EPOCH.into(),
                value: self.running.head().upload_epoch.get() + 1,
            }],
            order: None,
        };
        let at_ms = self.running.head().committed_at_ms + UPLOAD_EPOCH_MS_MIN;
        self.say_at(1, In::Strict, Document::Policy(policy), at_ms);
        prepared
    }

    /// What could be said next, with all that it needs.
    fn say_later(&mut self, source: &Ledger, open: u64, prepared: u64) {
        let first = invoice(source, 1);
        let mut more = |node, within, document| {
            self.said.push(Said {
                node,
                within,
                document,
            });
        };
        more(1, In::Strict, Document::Issue(invoice(source, 30)));
        more(2, In::Strict, reversal(source, 5, 31, None));
        more(2, In::Strict, reversal(source, 6, 32, Some(1)));
        more(4, In::Strict, add_rendition(source, 5));
        more(4, In::Strict, download(source, &first));
        more(2, In::Outbox, download(source, &first));
        more(2, In::Strict, ended(&[open]));
        more(1, In::Boot, boot(source, 1));
        more(1, In::Strict, mode(Phase::Done, 1, Some(prepared)));
        more(1, In::Strict, mode(Phase::Abort, 1, Some(prepared)));
    }

    fn say(&mut self, node: u64, within: In, document: Document) -> u64 {
        let at_ms = self.running.head().committed_at_ms + 1;
        self.say_at(node, within, document, at_ms)
    }

    /// The index.
    fn say_at(&mut self, node: u64, within: In, document: Document, at_ms: u64) -> u64 {
        let said = Said {
            node,
            within,
            document,
        };
        let submission = said.submission(&self.running);
        self.said.push(said);
        self.commit(submission, at_ms)
    }

    fn commit(&mut self, submission: Submission, proposed_at_ms: u64) -> u64 {
        let founds = submission.statement.kind == Kind::Genesis;
        let proposed = ProposedSubmission {
            founded_at: founds.then_some(FEATURE_LEVEL),
            ..submission.into()
        };
        let command = Command {
            proposed_at_ms,
            submissions: vec![proposed],
        };
        let index = self.running.head().size.next_index();
        let outcome = Outcome::Ok;
        let ok = Answer::Recorded { index, outcome };
        let answers = self.running.commit(&command.into());
        assert_eq!(answers, [ok], "the ledger cannot be filled");
        index.get()
    }
}

impl Said {
    /// As its lane's next. Nobody signs it: apply does not verify who said it.
    pub fn submission(&self, running: &Running) -> Submission {
        let node = NodeId::new(self.node);
        let lane = self.within.of(node, running);
        let row = running.lane(node, lane);
        let system = self.document.kind().is_system();
        let opening = |bytes| match system {
            true => Opening::public(bytes),
            false => Opening {
                salt: [5; 32],
                bytes,
            },
        };
        let (document, actor) = (
            opening(self.document.encode()),
            opening(Actor::default().encode()),
        );
        let deferred = matches!(self.within, In::Outbox);
        let statement = Statement {
            kind: self.document.kind(),
            mode: match (&self.document, deferred) {
                (Document::Download(_), true) => Mode::Deferred,
                (Document::Download(_), false) => Mode::Strict,
                _ => Mode::None,
            },
            level: match &self.document {
                Document::Issue(_) | Document::Reverse(_) | Document::AddRendition(_) => {
                    Level::Zones(2)
                }
                _ => Level::None,
            },
            ledger: running.head().ledger,
            node,
            lane,
            seq: row.next_seq,
            prev: row.last,
            witnessed_at_ms: running.head().committed_at_ms,
            document: commit_document(&document.salt, &document.bytes),
            actor: commit_actor(&actor.salt, &actor.bytes),
        };
        Submission {
            statement,
            signature: Signature([0; 64]),
            document,
            actor,
        }
    }
}

impl In {
    pub fn of(self, node: NodeId, running: &Running) -> Lane {
        match self {
            In::Boot => Lane::Boot,
            In::Strict => {
                let row = running.tables().node(node).expect("a row that reads");
                let boot = row.and_then(|row| row.boot);
                Lane::Strict(boot.unwrap_or(RecordIndex::FIRST))
            }
            In::Outbox => Lane::Outbox(outbox_of(node.get())),
        }
    }
}

fn outbox_of(node: u64) -> OutboxId {
    OutboxId::new(70 + node)
}

fn boot(source: &Ledger, node: u64) -> Document {
    Document::Boot(BootDocument {
        incarnation: [node as u8; 16],
        statement_key: source.key(node).public(),
        software: "filled".into(),
        outboxes: vec![BootOutbox {
            id: outbox_of(node),
            next: Sequence::FIRST,
            last: Digest::ZERO,
            lost: false,
        }],
    })
}

/// The invoice of this number, its body held by nodes 1 and 2.
fn invoice(source: &Ledger, number: u8) -> IssueDocument {
    let mut invoice = source.invoice(&format!("F-{number}"));
    invoice.uid = [number; 16];
    let body_id = BodyId::new([number; 16]);
    for rendition in &mut invoice.renditions {
        rendition.body_id = body_id;
    }
    for holding in &mut invoice.holdings {
        holding.body_id = body_id;
    }
    invoice
}

fn reversal(source: &Ledger, target: u8, number: u8, amount: Option<i64>) -> Document {
    let mut reversal = invoice(source, number);
    let total = reversal.metadata.total.clone();
    let uid = muniment::domain::ids::Uid([target; 16]);
    reversal.metadata.references = vec![Reference {
        relation: "REVERSES".into(),
        target: uid.to_string(),
        sha256: None,
        amount: amount.and_then(|minor_units| {
            total.map(|mut amount| {
                amount.minor_units = minor_units;
                amount
            })
        }),
    }];
    Document::Reverse(reversal)
}

fn add_rendition(source: &Ledger, to: u8) -> Document {
    let mut added = invoice(source, 100 + to);
    let mut rendition = added.renditions.remove(0);
    rendition.role = "printed".into();
    Document::AddRendition(AddRenditionDocument {
        tenant: "default".into(),
        uid: [to; 16],
        request_id: format!("add to {to}"),
        rendition,
        holdings: added.holdings,
    })
}

fn download(source: &Ledger, of: &IssueDocument) -> Document {
    let mut download = source.download_of(of.uid);
    let rendition = &of.renditions[0];
    (download.sha256, download.chunk_root) = (rendition.sha256, rendition.chunk_root);
    (download.end, download.length) = (rendition.length, rendition.length);
    Document::Download(download)
}

fn ended(downloads: &[u64]) -> Document {
    let ends = downloads.iter().map(|download| Delivered {
        download: RecordIndex::new(*download),
        bytes: 3,
        complete: false,
    });
    Document::DownloadEnd(DownloadEndDocument {
        tenant: "default".into(),
        downloads: ends.collect(),
    })
}

/// The first change takes node 4 as a learner, the second has it vote in the place of node 3.
fn mode(phase: Phase, number: u64, prepared: Option<u64>) -> Document {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId::new).collect::<Vec<_>>();
    let (voters, sync_learners) = match number {
        0 => (nodes(&[1, 2, 3]), nodes(&[4])),
        _ => (nodes(&[1, 2, 4]), Vec::new()),
    };
    Document::Mode(ModeDocument {
        phase,
        number,
        voters,
        sync_learners,
        async_learners: Vec::new(),
        prepared: prepared.map(RecordIndex::new),
        reason: "a ledger".into(),
        order: None,
    })
}
