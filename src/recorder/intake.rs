//! The leader's side: verify, stamp, propose, in the order of arrival.
//!
//! Promises: no statement with a bad signature is proposed; what is taken without one, this
//! node's own statements and GENESIS, comes by the local route and never out of a frame,
//! whatever number stands in it. A statement that is its node's own is never turned away for
//! what it says, since nothing behind it in its lane could be recorded then: one with a
//! holding or an anchor that does not hold, or of what the leader alone may say, is proposed
//! with the reason why it must not take effect, and apply, which can tell neither, refuses it by
//! that. Verification runs off the Raft task; commands of one node are queued in the order they
//! came. Leaves lanes and outcomes to apply.

use super::holdings::{is_signed, signed_by_any};
use crate::clock::SharedClock;
use crate::domain::command::{Command, ProposedSubmission, Submission};
use crate::domain::ids::NodeId;
use crate::ledger::policy::FEATURE_LEVEL;
use crate::ledger::rows::NodeRow;
use crate::ledger::state::{State, Tables};
use crate::misconduct::Misdeed;
use crate::raft::group::RaftGroup;
use crate::raft::proposals::{GroupRefusal, ProposalTicket};
use crate::signatures::Signatures;
use crate::store::Blocking;
use bytes::Bytes;
use muniment_evidence::key::{PublicKey, VerifySignature as _};
use muniment_evidence::keys::{KeyHistory, KeyLife};
use muniment_evidence::ledger::Ledger;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{Document, Holding};
use muniment_evidence::record::Reason;
use muniment_evidence::statement::{Kind, Lane};
use std::collections::HashMap;

/// Why a command was not queued.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmissionRejected {
    /// A signature does not verify, or the node is not a member: a broken or lying node.
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    Refused(#[from] GroupRefusal),
    #[error("the signatures cannot be verified: {0}")]
    Store(#[from] crate::store::StoreError),
}

/// By which way submissions came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmissionSource {
    /// From this very process, which has just signed them.
    Local,
    /// In frames of this member.
    Peer(NodeId),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    group: RaftGroup,
    state: State,
    blocking: Blocking,
    clock: SharedClock,
    signatures: Signatures,
}

impl Intake {
    pub fn new(
        group: RaftGroup,
        state: State,
        blocking: Blocking,
        clock: SharedClock,
        signatures: Signatures,
    ) -> Intake {
        Intake {
            group,
            state,
            blocking,
            clock,
            signatures,
        }
    }

    /// Verifies submissions and gives them back as they are to be proposed.
    pub async fn verify(
        &self,
        by: SubmissionSource,
        submissions: Vec<Submission>,
    ) -> Result<Vec<ProposedSubmission>, SubmissionRejected> {
        let (state, own) = (self.state.clone(), self.group.node());
        let signatures = self.signatures.clone();
        let verified = self.blocking.run(move || {
            state.read(|tables| {
                let mut keys = Keys::new(tables, &signatures);
                let mut verified = Vec::with_capacity(submissions.len());
                for submission in submissions {
                    match check(&mut keys, by, own, &submission)? {
                        Ok(refusal) => verified.push(ProposedSubmission {
                            founded_at: founding_level(&submission),
                            submission,
                            refusal,
                        }),
                        Err(why) => return Ok(Err(why)),
                    }
                }
                Ok(Ok(verified))
            })
        });
        let verified = verified.await;
        match verified {
            Ok(Ok(submissions)) => Ok(submissions),
            Ok(Err(why)) => {
                if let SubmissionSource::Peer(node) = by {
                    self.group
                        .misconduct()
                        .saw(node, Misdeed::BadStatement, &why);
                }
                Err(SubmissionRejected::Bad(why))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stamps and queues verified submissions; the ticket tells what became of them.
    pub async fn queue(
        &self,
        submissions: Vec<ProposedSubmission>,
    ) -> Result<ProposalTicket, SubmissionRejected> {
        let command = Command {
            proposed_at_ms: self.clock.now_ms(),
            submissions,
        };
        let queued = self.group.queue(Bytes::from(command.encode())).await;
        queued.map_err(SubmissionRejected::Refused)
    }
}

struct Keys<'a> {
    tables: &'a Tables<'a>,
    signatures: &'a Signatures,
    rows: HashMap<NodeId, Option<NodeRow>>,
    /// Read when a key is asked for that no newest boot names.
    history: Option<KeyHistory>,
}

impl<'a> Keys<'a> {
    fn new(tables: &'a Tables<'a>, signatures: &'a Signatures) -> Keys<'a> {
        Keys {
            tables,
            signatures,
            rows: HashMap::new(),
            history: None,
        }
    }

    fn row(&mut self, node: NodeId) -> Result<Option<&NodeRow>, crate::store::StoreError> {
        if !self.rows.contains_key(&node) {
            let row = self.tables.node(node)?;
            self.rows.insert(node, row);
        }
        Ok(self.rows.get(&node).and_then(Option::as_ref))
    }

    fn history(&mut self) -> Result<&KeyHistory, crate::store::StoreError> {
        if self.history.is_none() {
            self.history = Some(self.tables.key_history()?);
        }
        Ok(self.history.as_ref().expect("read just above"))
    }

    /// The keys that the ledger ever named for the node's statements.
    fn named(&mut self, node: NodeId) -> Result<&[KeyLife], crate::store::StoreError> {
        Ok(self.history()?.statement_keys(node))
    }

    /// Why an ANCHOR must not take effect, by the verifier's own rule.
    fn anchor(
        &mut self,
        submission: &Submission,
    ) -> Result<Option<Reason>, crate::store::StoreError> {
        // Apply refuses what cannot be read.
        let Ok(Document::Anchor(anchor)) = Document::decode(&submission.document.bytes) else {
            return Ok(None);
        };
        let head = self.tables.head()?;
        let ledger = Ledger::following(head.ledger, &head.origin, self.history()?.clone());
        // Its own index is this or above.
        let anchored = ledger.anchored(head.size.next_index(), &anchor);
        Ok(anchored.is_err().then_some(Reason::Malformed))
    }
}

/// What the ledger begins at, if this begins one. Whoever founds leads, and GENESIS is taken from
/// within alone: it is this software's own level.
fn founding_level(submission: &Submission) -> Option<u64> {
    (submission.statement.kind == Kind::Genesis).then_some(FEATURE_LEVEL)
}

/// The key that a BOOT names, if the submission is one.
fn key_of_boot(submission: &Submission) -> Option<PublicKey> {
    if submission.statement.kind != Kind::Boot {
        return None;
    }
    match Document::decode(&submission.document.bytes) {
        Ok(Document::Boot(boot)) => Some(boot.statement_key),
        // Apply refuses what cannot be read.
        _ => None,
    }
}

/// Whether nobody but who leads may say so, and this node leads now: the term of this entry is
/// its own to attest, and how a change of the members ended is for whoever carries it through.
/// From another it may be the word of one who led before, and has numbered it: the change goes
/// on, or ends, without it.
fn is_the_leaders(submission: &Submission) -> bool {
    match submission.statement.kind {
        Kind::Leader => true,
        Kind::Mode => match Document::decode(&submission.document.bytes) {
            Ok(Document::Mode(mode)) => mode.phase != Phase::Prepare,
            // Apply refuses what cannot be read.
            _ => false,
        },
        _ => false,
    }
}

/// Whether it is its node's own, and why it must not take effect if it must not.
/// `Ok(Err(why))` is no statement of the node that hands it in; `Err` is a storage fault.
fn check(
    keys: &mut Keys<'_>,
    by: SubmissionSource,
    own: NodeId,
    submission: &Submission,
) -> Result<Result<Option<Reason>, String>, crate::store::StoreError> {
    let statement = &submission.statement;
    let from = match by {
        SubmissionSource::Local => own,
        SubmissionSource::Peer(node) => node,
    };
    if statement.node != from {
        return Ok(Err(format!(
            "node {from} submits a statement of node {}",
            statement.node
        )));
    }
    if statement.kind == Kind::Genesis {
        // Its keys are its own content; apply takes it at size 0 alone. Who founds leads.
        return Ok(match by {
            SubmissionSource::Local => Ok(None),
            SubmissionSource::Peer(node) => Err(format!("node {node} submits a GENESIS")),
        });
    }
    let Some(row) = keys.row(from)? else {
        return Ok(Err(format!("node {from} is not a member of the ledger")));
    };
    let newest = row.statement_key;
    let key = match key_of_boot(submission) {
        // A node may start under any key in force. A stranger's would leave a record that
        // no verifier believes.
        Some(key) => {
            let mut named = keys.named(from)?.iter();
            if !named.any(|life| life.is_active() && life.key == key) {
                return Ok(Err(format!(
                    "node {from} starts under a statement key that is not in force for it"
                )));
            }
            key
        }
        None => newest,
    };
    let signatures = keys.signatures;
    let signed =
        |key: &PublicKey| signatures.verify(key, &statement.signed_bytes(), &submission.signature);
    let good = match statement.lane {
        // It was signed when it entered the outbox, perhaps before its node started under
        // another key; and it was kept in a file since.
        Lane::Outbox(id) => {
            let mut named = keys.named(from)?.iter();
            match named.find(|life| life.trusted_until.is_none() && signed(&life.key)) {
                None => false,
                Some(life) if life.retired.is_none() => true,
                // As far as its BOOT says that it was signed by then.
                Some(_) => {
                    let given = keys.tables.signed_in_outbox(from, id)?;
                    given.is_some_and(|next| statement.seq < next)
                }
            }
        }
        // What this very process has just signed need not be verified by it.
        _ => by == SubmissionSource::Local || signed(&key),
    };
    if !good {
        return Ok(Err(format!(
            "a statement of node {from} has a bad signature"
        )));
    }
    if is_the_leaders(submission) && by != SubmissionSource::Local {
        return Ok(Ok(Some(Reason::NotEntitled)));
    }
    Ok(Ok(refusal(keys, submission)?))
}

/// Why a statement must not take effect, as the signatures inside it say; the first reason.
fn refusal(
    keys: &mut Keys<'_>,
    submission: &Submission,
) -> Result<Option<Reason>, crate::store::StoreError> {
    let statement = &submission.statement;
    if statement.kind == Kind::Anchor {
        return keys.anchor(submission);
    }
    for holding in holdings(submission) {
        let Some(row) = keys.row(holding.node)? else {
            return Ok(Some(Reason::HoldingsInsufficient));
        };
        // The key of a running node was not revoked: it would not run. It may have signed
        // before it started under another key.
        let running = row.boot.is_some().then_some(row.statement_key);
        let signatures = keys.signatures;
        let signed = running.is_some_and(|key| is_signed(signatures, &holding, &key));
        if !signed && !signed_by_any(signatures, &holding, keys.named(holding.node)?) {
            return Ok(Some(Reason::HoldingsInsufficient));
        }
    }
    Ok(None)
}

fn holdings(submission: &Submission) -> Vec<Holding> {
    match submission.statement.kind {
        Kind::Issue | Kind::Reverse | Kind::AddRendition => {}
        _ => return Vec::new(),
    }
    match Document::decode(&submission.document.bytes) {
        Ok(Document::Issue(d) | Document::Reverse(d)) => d.holdings,
        Ok(Document::AddRendition(d)) => d.holdings,
        // Apply refuses what cannot be read.
        _ => Vec::new(),
    }
}

/// What a leader would say of a submission, for tests with no group.
#[cfg(test)]
pub(super) fn judged(
    state: &State,
    by: SubmissionSource,
    own: NodeId,
    submission: &Submission,
) -> Result<Option<Reason>, String> {
    let signatures = Signatures::default();
    let checked = state.read(|tables| {
        let mut keys = Keys::new(tables, &signatures);
        check(&mut keys, by, own, submission)
    });
    checked.unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{BodyId, OutboxId, RecordIndex, UploadEpoch};
    use crate::ledger::tests::{TestLedger, TestSigner, remark};
    use muniment_evidence::digest::Digest;
    use muniment_evidence::key::{SecretKey, Signature, Signer as _};
    use muniment_evidence::note::{Checkpoint, VerifierKey};
    use muniment_evidence::opening::{
        AnchorDocument, AnchoredBy, HoldingKind, IssueDocument, Metadata, ModeDocument,
    };

    /// Node 2 leads, and is handed this.
    fn evaluate(
        ledger: &TestLedger,
        from: u64,
        submission: &Submission,
    ) -> Result<Option<Reason>, String> {
        let by = SubmissionSource::Peer(NodeId::new(from));
        judged(ledger, by, NodeId::new(2), submission)
    }

    /// Node 1 leads, and is handed this by itself.
    fn evaluate_own(
        ledger: &TestLedger,
        submission: &Submission,
    ) -> Result<Option<Reason>, String> {
        judged(ledger, SubmissionSource::Local, NodeId::new(1), submission)
    }

    fn judged(
        ledger: &TestLedger,
        by: SubmissionSource,
        own: NodeId,
        submission: &Submission,
    ) -> Result<Option<Reason>, String> {
        let state = State::new(ledger.engine.clone());
        super::judged(&state, by, own, submission)
    }

    #[test]
    fn a_leader_proposes_no_statement_with_a_bad_signature() {
        let (ledger, _, mut lane) = TestLedger::booted();
        let good = lane.write(&ledger, &remark(1));
        assert_eq!(evaluate(&ledger, 1, &good), Ok(None));
        let mut forged = good.clone();
        forged.signature.0[5] ^= 1;
        assert!(evaluate(&ledger, 1, &forged).is_err());
        let mut altered = good.clone();
        altered.statement.witnessed_at_ms += 1;
        assert!(evaluate(&ledger, 1, &altered).is_err());
        // Signed well, but handed in by another node, or by a stranger.
        assert!(evaluate(&ledger, 3, &good).is_err());
        let stranger =
            TestSigner::new(9, Lane::Strict(RecordIndex::new(1))).write(&ledger, &remark(1));
        assert!(evaluate(&ledger, 9, &stranger).is_err());
    }

    /// Whoever claims to be the leader is not the leader: a number in a frame takes the place
    /// of no signature. Only what comes by the local route is taken as just signed.
    #[test]
    fn a_statement_in_the_leaders_name_needs_its_signature_unless_it_comes_from_within() {
        let (ledger, _, mut lane) = TestLedger::booted();
        let mut unsigned = lane.write(&ledger, &remark(1));
        unsigned.signature = Signature([0; 64]);
        let in_its_name = SubmissionSource::Peer(NodeId::new(1));
        let told = judged(&ledger, in_its_name, NodeId::new(1), &unsigned);
        assert!(told.unwrap_err().contains("bad signature"));
        assert_eq!(evaluate_own(&ledger, &unsigned), Ok(None));
        // Nor does what comes from within speak for another node.
        let other = judged(&ledger, SubmissionSource::Local, NodeId::new(2), &unsigned);
        assert!(other.is_err());
    }

    #[test]
    fn a_genesis_is_taken_from_within_alone() {
        let (ledger, ..) = TestLedger::booted();
        let mut founding = TestSigner::new(1, Lane::Boot).write(&ledger, &remark(1));
        founding.statement.kind = Kind::Genesis;
        assert_eq!(evaluate_own(&ledger, &founding), Ok(None));
        assert!(
            evaluate(&ledger, 1, &founding)
                .unwrap_err()
                .contains("GENESIS")
        );
    }

    /// One bad voter could cancel each change that an operator orders, or say of one that its
    /// leader was about to cancel that it is done.
    #[test]
    fn how_a_change_of_the_members_ended_is_said_by_who_leads_alone() {
        let (ledger, _, mut lane) = TestLedger::booted();
        let mut said = |phase| {
            lane.write(
                &ledger,
                &Document::Mode(ModeDocument {
                    phase,
                    number: 0,
                    voters: vec![NodeId::new(1)],
                    sync_learners: Vec::new(),
                    async_learners: Vec::new(),
                    prepared: (phase != Phase::Prepare).then_some(RecordIndex::new(1)),
                    reason: String::new(),
                    order: None,
                }),
            )
        };
        for phase in [Phase::Done, Phase::Abort] {
            let ended = said(phase);
            let anothers = Ok(Some(Reason::NotEntitled));
            assert_eq!(evaluate(&ledger, 1, &ended), anothers);
            assert_eq!(evaluate_own(&ledger, &ended), Ok(None));
        }
        // An operator's order may reach a node that has just ceased to lead.
        let prepare = said(Phase::Prepare);
        assert_eq!(evaluate(&ledger, 1, &prepare), Ok(None));
    }

    /// It comes from a file, so that not even the node's own is taken unseen.
    #[test]
    fn a_leader_proposes_no_statement_of_an_outbox_with_a_bad_signature() {
        let (ledger, ..) = TestLedger::booted();
        let good = TestSigner::new(1, Lane::Outbox(OutboxId::new(7))).write(&ledger, &remark(1));
        assert_eq!(evaluate_own(&ledger, &good), Ok(None));
        let mut forged = good.clone();
        forged.signature.0[5] ^= 1;
        assert!(evaluate_own(&ledger, &forged).is_err());
        assert!(evaluate(&ledger, 1, &forged).is_err());
    }

    /// A statement that is numbered must be recorded: turned away, it would hold up all that
    /// its node says after it. So what does not hold inside it is proposed as refused.
    #[test]
    fn a_forged_or_revoked_holding_is_proposed_as_refused_even_the_leaders_own() {
        let (mut ledger, _, mut lane) = TestLedger::booted();
        let mut holding = Holding {
            kind: HoldingKind::Node,
            ledger: Digest([1; 32]),
            body_id: BodyId::new([2; 16]),
            sha256: Digest([3; 32]),
            chunk_root: Digest([3; 32]),
            length: 4,
            node: NodeId::new(3),
            incarnation: [3; 16],
            zone: "z3".into(),
            epoch: UploadEpoch::new(1),
            signature: Signature([0; 64]),
        };
        let issue = |holding: &Holding| {
            Document::Issue(IssueDocument {
                uid: [7; 16],
                request_id: "r".into(),
                metadata: Metadata::default(),
                renditions: Vec::new(),
                holdings: vec![holding.clone()],
            })
        };
        let refused = Ok(Some(Reason::HoldingsInsufficient));
        let forged = lane.write(&ledger, &issue(&holding));
        assert_eq!(evaluate_own(&ledger, &forged), refused);
        assert_eq!(evaluate(&ledger, 1, &forged), refused);
        let key = SecretKey::from_seed(&[3; 32]);
        holding.signature = key.sign(&holding.signed_bytes());
        let good = lane.write(&ledger, &issue(&holding));
        assert_eq!(evaluate_own(&ledger, &good), Ok(None));
        let mut of_another = holding.clone();
        of_another.node = NodeId::new(2);
        let anothers = lane.write(&ledger, &issue(&of_another));
        assert_eq!(evaluate_own(&ledger, &anothers), refused);
        of_another.node = NodeId::new(99);
        let strangers = lane.write(&ledger, &issue(&of_another));
        assert_eq!(evaluate_own(&ledger, &strangers), refused);
        // A key that was revoked signs nothing any more, and what it signed does not count.
        let mut lane = ledger.revoke(NodeId::new(3), &key);
        let revoked = lane.write(&ledger, &issue(&holding));
        assert_eq!(evaluate_own(&ledger, &revoked), refused);
    }

    /// A record of it that is OK would be a fault of the log to every verifier, for ever.
    #[test]
    fn an_anchor_that_no_verifier_takes_is_proposed_as_refused() {
        let (ledger, _, mut lane) = TestLedger::booted();
        let (log, witness) = (
            SecretKey::from_seed(&[9; 32]),
            SecretKey::from_seed(&[8; 32]),
        );
        let checkpoint = Checkpoint {
            origin: ledger.head().origin.clone(),
            size: ledger.head().size,
            root: ledger.head().root,
        };
        let name = "witness.example";
        let cosigned = checkpoint.cosign(name, &witness, 1);
        let good = AnchorDocument {
            note: checkpoint.sign(&log) + &cosigned,
            by: AnchoredBy::Witness(VerifierKey::cosigner(name, witness.public()).to_string()),
        };
        let mut said = |anchor: &AnchorDocument| {
            let said = lane.write(&ledger, &Document::Anchor(anchor.clone()));
            evaluate(&ledger, 1, &said)
        };
        assert_eq!(said(&good), Ok(None));
        let refused = Ok(Some(Reason::Malformed));
        let unwitnessed = AnchorDocument {
            note: checkpoint.sign(&log),
            ..good.clone()
        };
        assert_eq!(said(&unwitnessed), refused);
        let later = Checkpoint {
            size: ledger.head().size.grown_by(1),
            ..checkpoint
        };
        let later = AnchorDocument {
            note: later.sign(&log) + &later.cosign(name, &witness, 1),
            ..good
        };
        assert_eq!(said(&later), refused);
    }
}
