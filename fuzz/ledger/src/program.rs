//! An input as steps: commands of what was said on the filled ledger, bent as the bytes ask.
//!
//! Promises that zeros bend nothing, so that a search begins with what is right and leaves it
//! bit by bit; that every byte of a statement, an opening, a submission and a command can
//! come from the input; that an input has an end. Leaves what must hold to
//! [`super::running`].

use crate::filled::{FILLED, In, Said};
use crate::running::Running;
use muniment::domain::command::{Command, ProposedSubmission, Submission};
use muniment::domain::ids::{NodeId, OutboxId, RecordIndex, Sequence};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{commit_actor, commit_document};
use muniment_evidence::record::Reason;
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};
use std::collections::HashMap;

/// Enough for what one step makes possible to be done by another, and few enough for a
/// thousand inputs in a second.
const STEPS_MAX: usize = 24;
/// Submissions of one command.
const SUBMISSIONS_MAX: u8 = 4;
/// Above the longest text, and above the longest opening that is kept.
const STRETCH_MAX: usize = 70_000;

/// What a step is, by its lower bits; all others are a command of one submission.
const RAW: u8 = 4;
const LEADER: u8 = 5;
const MEMBERS: u8 = 6;
const SEVERAL: u8 = 7;
/// The command's bytes are bent when all is encoded.
const BENT: u8 = 0x80;

/// How a submission is bent.
const DOCUMENT: u8 = 1;
const ACTOR: u8 = 2;
const STATEMENT: u8 = 4;
const STALE: u8 = 8;
const LANE: u8 = 16;
const NUMBER: u8 = 32;
const REFUSED: u8 = 64;
const STRETCHED: u8 = 128;

pub(crate) struct Program<'a> {
    rest: &'a [u8],
    /// The last submission that was made, to be said again.
    last: Option<Submission>,
}

impl<'a> Program<'a> {
    pub fn of(bytes: &'a [u8]) -> Program<'a> {
        Program {
            rest: bytes,
            last: None,
        }
    }

    pub fn run(mut self, running: &mut Running) {
        for _ in 0..STEPS_MAX {
            if self.rest.is_empty() {
                return;
            }
            self.step(running);
        }
    }

    fn step(&mut self, running: &mut Running) {
        let op = self.u8();
        match op & 7 {
            RAW => {
                let length = usize::from(self.u16());
                let bytes = self.bytes(length).to_vec();
                take(running, &bytes);
            }
            LEADER => {
                running.lead(running.term.saturating_add(u64::from(op >> 3)));
            }
            MEMBERS => self.members(running),
            SEVERAL => self.command(running, op, 2 + (op >> 3) % (SUBMISSIONS_MAX - 1)),
            _ => self.command(running, op, 1),
        }
    }

    /// Raft has some voter in every set, in one set or two.
    fn members(&mut self, running: &mut Running) {
        let [first, second, learners] = [self.u8(), self.u8(), self.u8()];
        let nodes = |mask: u8| {
            let ids = (0..8).filter(|bit| mask & (1 << bit) != 0);
            ids.map(|bit| NodeId::new(bit + 1)).collect::<Vec<_>>()
        };
        let sets = [first.max(1), second].map(nodes);
        let voters = sets.into_iter().filter(|set| !set.is_empty());
        running.members(voters.collect(), nodes(learners));
    }

    fn command(&mut self, running: &mut Running, op: u8, submissions: u8) {
        let now_ms = running.head().committed_at_ms;
        let proposed_at_ms = match self.u8() {
            0 => now_ms.saturating_add(1),
            254 => self.u64(),
            255 => 0,
            minutes => now_ms.saturating_add(60_000 * u64::from(minutes)),
        };
        let mut ahead = HashMap::new();
        let submissions = (0..submissions).map(|_| self.submission(running, &mut ahead));
        let command = Command {
            proposed_at_ms,
            submissions: submissions.collect(),
        };
        let mut bytes = command.encode();
        if op & BENT != 0 {
            self.bend(&mut bytes);
        }
        take(running, &bytes);
    }

    fn submission(
        &mut self,
        running: &Running,
        ahead: &mut HashMap<(NodeId, Lane), (Sequence, Digest)>,
    ) -> ProposedSubmission {
        let (which, bent) = (usize::from(self.u8()), self.u8());
        let said: &[Said] = &FILLED.said;
        let mut made = match (said.get(which % (said.len() + 2)), &self.last) {
            (Some(said), _) => said.submission(running),
            (None, Some(last)) if which % (said.len() + 2) > said.len() => {
                let last = last.clone();
                return ProposedSubmission::from(last);
            }
            _ => self.written(running),
        };
        if bent & LANE != 0 {
            self.bend_lane(running, &mut made.statement);
        }
        let lane = (made.statement.node, made.statement.lane);
        if let Some(after) = ahead.get(&lane) {
            (made.statement.seq, made.statement.prev) = *after;
        }
        if bent & NUMBER != 0 {
            made.statement.seq = Sequence::new(match self.u8() {
                0 => self.u64(),
                more => made.statement.seq.get().wrapping_add(u64::from(more)),
            });
        }
        if bent & DOCUMENT != 0 {
            self.bend(&mut made.document.bytes);
        }
        if bent & ACTOR != 0 {
            self.bend(&mut made.actor.bytes);
        }
        if bent & STRETCHED != 0 {
            let length = usize::from(self.u8()) << 9;
            made.document.bytes.resize(length.min(STRETCH_MAX), b'x');
            made.document.salt = [self.u8(); 32];
        }
        if bent & STALE == 0 {
            commit(&mut made);
        }
        if bent & STATEMENT != 0 {
            self.bend_statement(&mut made.statement);
        }
        let refusal = if bent & REFUSED != 0 { self.u16() } else { 0 };
        let after = (made.statement.seq.next(), made.statement.hash());
        ahead.insert(lane, after);
        self.last = Some(made.clone());
        ProposedSubmission {
            refusal: Reason::from_code(refusal),
            ..made.into()
        }
    }

    /// A document of the input's own bytes, behind its version and kind.
    fn written(&mut self, running: &Running) -> Submission {
        let mut made = FILLED.said[FILLED.unsaid].submission(running);
        let kind = self.u8();
        let length = usize::from(self.u16());
        made.statement.kind = Kind::from_code(kind).unwrap_or(Kind::Scrub);
        made.statement.mode = Mode::None;
        made.statement.level = Level::None;
        if made.statement.kind.is_system() {
            made.document.salt = [0; 32];
        }
        made.document.bytes = [&[1, kind], self.bytes(length)].concat();
        if made.statement.kind == Kind::Boot {
            made.statement.lane = Lane::Boot;
            let row = running.lane(made.statement.node, Lane::Boot);
            (made.statement.seq, made.statement.prev) = (row.next_seq, row.last);
        }
        made
    }

    /// Another lane, with what would be its next.
    fn bend_lane(&mut self, running: &Running, statement: &mut Statement) {
        let which = self.u8();
        let node = NodeId::new(u64::from(which & 7));
        let lane = match which >> 3 {
            0 => In::Boot.of(node, running),
            1 => In::Strict.of(node, running),
            2 => In::Outbox.of(node, running),
            3 => Lane::Outbox(OutboxId::new(self.u64())),
            _ => Lane::Strict(RecordIndex::new(u64::from(self.u8()))),
        };
        let row = running.lane(node, lane);
        (statement.node, statement.lane) = (node, lane);
        (statement.seq, statement.prev) = (row.next_seq, row.last);
    }

    fn bend_statement(&mut self, statement: &mut Statement) {
        let mut bytes = statement.encode();
        let at = usize::from(self.u8()) % bytes.len();
        bytes[at] = self.u8();
        // What does not decode cannot stand in a submission; the command's bytes can be bent.
        if let Ok(bent) = Statement::decode(&bytes) {
            *statement = bent;
        }
    }

    fn bend(&mut self, bytes: &mut Vec<u8>) {
        let edits = self.u8();
        for _ in 0..=edits % 4 {
            let (at, value) = (usize::from(self.u16()), self.u8());
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte = value;
            }
        }
        match edits >> 6 {
            1 => bytes.truncate(usize::from(self.u16())),
            2 => {
                let length = usize::from(self.u8());
                bytes.extend_from_slice(self.bytes(length));
            }
            _ => {}
        }
    }

    /// Behind the end there are zeros.
    fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u64(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.u8()))
    }

    /// Fewer where the input ends.
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}

fn commit(made: &mut Submission) {
    let (document, actor) = (&made.document, &made.actor);
    made.statement.document = commit_document(&document.salt, &document.bytes);
    made.statement.actor = commit_actor(&actor.salt, &actor.bytes);
}

/// As a node reads an entry: what is no command says nothing.
fn take(running: &mut Running, bytes: &[u8]) {
    running.take(&Command::decode(bytes).unwrap_or_default());
}
