//! What a log asks of an outside witness, and how a witness decides (C2SP tlog-witness
//! v1.0.0).
//!
//! A witness remembers the largest head that it cosigned per origin, and cosigns another
//! only with the proof that the first is a prefix of it. So a log that shows two
//! histories must show both to the witness, which refuses the second.
//!
//! Promises: a request is read strictly or refused; [`decide`] is a pure function of the
//! request, the log's keys and what was cosigned last. Leaves keeping that memory whole,
//! between the question and the answer and over a crash, to the witness's server.

use crate::digest::Digest;
use crate::key::Signer;
use crate::note::{Checkpoint, NOTE_BYTES_MAX, Note, NoteError, VerifierKey, Vouch};
use crate::tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

/// Hashes in one request: no proof between sizes of 63 bits needs more (C2SP).
pub const HASHES_MAX: usize = 63;

/// `old ` and 20 digits, then [`HASHES_MAX`] lines of 44 characters, a blank line, the note.
pub const REQUEST_BYTES_MAX: usize = 25 + HASHES_MAX * 45 + 1 + NOTE_BYTES_MAX;

/// Content type of the answer that says what was cosigned last.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A well-formed request: the old size, the proof from there, the log's signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    old: u64,
    proof: Vec<Digest>,
    signed: String,
    note: Note,
    checkpoint: Checkpoint,
}

impl AddCheckpoint {
    /// `signed` is the note as the log signed it; cosignatures in it are passed over.
    pub fn new(old: u64, proof: Vec<Digest>, signed: &str) -> Result<AddCheckpoint, NoteError> {
        if proof.len() > HASHES_MAX {
            return Err(NoteError("the proof has more than 63 hashes"));
        }
        let note = Note::parse(signed.as_bytes())?;
        Ok(AddCheckpoint {
            old,
            proof,
            signed: signed.to_owned(),
            checkpoint: Checkpoint::parse(&note.text)?,
            note,
        })
    }

    pub fn encode(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.signed);
        text
    }

    pub fn decode(bytes: &[u8]) -> Result<AddCheckpoint, NoteError> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(NoteError("the request is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoteError("the request is not UTF-8"))?;
        let (head, signed) = text
            .split_once("\n\n")
            .ok_or(NoteError("the request has no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or(NoteError("the first line is `old` and a canonical size"))?;
        let proof = lines
            .map(|line| BASE64.decode(line).ok()?.try_into().ok().map(Digest))
            .collect::<Option<Vec<_>>>()
            .ok_or(NoteError("a line of the proof is not 32 bytes of base64"))?;
        AddCheckpoint::new(old, proof, signed)
    }

    /// The note as it came.
    pub fn signed(&self) -> &str {
        &self.signed
    }

    /// What the log says; nothing is verified.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with one line per key of the log and no others: what a witness keeps, once
    /// [`decide`] agreed, with its cosignature after it.
    pub fn cosigned(&self, keys: &[VerifierKey], cosignature: &str) -> String {
        let mut kept = format!("{}\n", self.note.text);
        for key in keys {
            let own = signature_lines(&self.signed).find(|line| {
                let alone = format!("{}\n{line}\n", self.note.text);
                Note::parse(alone.as_bytes()).is_ok_and(|note| note.vouch(key) == Vouch::Signed)
            });
            if let Some(line) = own {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        kept + cosignature
    }
}

/// What a witness cosigned last for an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub root: Digest,
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessRefusal {
    Malformed(NoteError),
    UnknownOrigin,
    /// No signature of a key that is known for the origin, or a wrong one.
    NotSigned,
    OldAboveSize,
    /// The old size is not the one cosigned last, which is this.
    NotLast {
        size: u64,
    },
    /// The log contradicts what was cosigned, or does not show that it does not.
    Inconsistent,
}

impl WitnessRefusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            WitnessRefusal::Malformed(_) | WitnessRefusal::OldAboveSize => 400,
            WitnessRefusal::NotSigned => 403,
            WitnessRefusal::UnknownOrigin => 404,
            WitnessRefusal::NotLast { .. } => 409,
            WitnessRefusal::Inconsistent => 422,
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self {
            WitnessRefusal::NotLast { .. } => SIZE_TYPE,
            _ => "text/plain; charset=utf-8",
        }
    }

    /// What the answer says, with its line feed.
    pub fn body(&self) -> String {
        match self {
            WitnessRefusal::NotLast { size } => format!("{size}\n"),
            _ => format!("{self}\n"),
        }
    }
}

impl fmt::Display for WitnessRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WitnessRefusal::Malformed(why) => write!(f, "{why}"),
            WitnessRefusal::UnknownOrigin => f.write_str("no log of this origin is witnessed here"),
            WitnessRefusal::NotSigned => f.write_str("no valid signature of the log"),
            WitnessRefusal::OldAboveSize => f.write_str("the old size is above the checkpoint's"),
            WitnessRefusal::NotLast { size } => write!(f, "size {size} was cosigned last"),
            WitnessRefusal::Inconsistent => {
                f.write_str("the checkpoint is not shown to be consistent with the last one")
            }
        }
    }
}

impl std::error::Error for WitnessRefusal {}

/// Whether to cosign the request's checkpoint. `keys` are the log's keys for its origin,
/// none if the origin is unknown; `last` is what was cosigned last for it.
pub fn decide(
    request: &AddCheckpoint,
    keys: &[VerifierKey],
    last: Option<Head>,
) -> Result<(), WitnessRefusal> {
    if keys.is_empty() {
        return Err(WitnessRefusal::UnknownOrigin);
    }
    let vouched: Vec<Vouch> = keys.iter().map(|key| request.note.vouch(key)).collect();
    let origin = &request.checkpoint.origin;
    if keys.iter().any(|key| key.name != *origin)
        || vouched.contains(&Vouch::Invalid)
        || !vouched.contains(&Vouch::Signed)
    {
        return Err(WitnessRefusal::NotSigned);
    }
    let new = &request.checkpoint;
    if request.old > new.size {
        return Err(WitnessRefusal::OldAboveSize);
    }
    // A log of which nothing was seen begins as the empty one.
    let last = last.unwrap_or(Head {
        size: 0,
        root: tree::empty_root(),
    });
    if request.old != last.size {
        return Err(WitnessRefusal::NotLast { size: last.size });
    }
    let proof = &request.proof;
    if tree::verify_consistency(last.size, new.size, proof, &last.root, &new.root) {
        Ok(())
    } else {
        Err(WitnessRefusal::Inconsistent)
    }
}

/// A cosignature that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    pub checkpoint: Checkpoint,
    pub time_s: u64,
    /// The log's note with the witness's line after the lines that were there.
    pub note: String,
}

/// Takes a witness's answer to a note: lines of other keys are passed over, a line of
/// this key that does not verify spoils the answer.
pub fn accept(signed: &str, answer: &str, witness: &VerifierKey) -> Result<Cosigned, NoteError> {
    let checkpoint = Checkpoint::parse(&Note::parse(signed.as_bytes())?.text)?;
    let lines = answer
        .strip_suffix('\n')
        .ok_or(NoteError("the answer does not end in a line feed"))?;
    let mut newest: Option<Cosigned> = None;
    for line in lines.split('\n') {
        let one = format!("{}\n{line}\n", checkpoint.text());
        match Note::parse(one.as_bytes())?.vouch(witness) {
            Vouch::Cosigned { time_s } => {
                if newest.as_ref().is_none_or(|found| found.time_s < time_s) {
                    newest = Some(Cosigned {
                        checkpoint: checkpoint.clone(),
                        time_s,
                        note: format!("{signed}{line}\n"),
                    });
                }
            }
            Vouch::Absent => {}
            Vouch::Invalid | Vouch::Signed => {
                return Err(NoteError("the witness's cosignature does not verify"));
            }
        }
    }
    newest.ok_or(NoteError("the answer has no line of the witness's key"))
}

/// The witness's line for a request that [`decide`] agreed to.
pub fn cosign(request: &AddCheckpoint, name: &str, key: &dyn Signer, time_s: u64) -> String {
    request.checkpoint.cosign(name, key, time_s)
}

/// The body of an answer of type [`SIZE_TYPE`].
pub fn parse_size(body: &str) -> Option<u64> {
    decimal(body.strip_suffix('\n')?)
}

/// A number as it is written canonically, and only so.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn signature_lines(signed: &str) -> impl Iterator<Item = &str> {
    let (_, lines) = signed.rsplit_once("\n\n").unwrap_or_default();
    lines.lines()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;
    use crate::tree::{Frontier, MemoryRows, leaf_hash};

    const ORIGIN: &str = "ledger.example/0";
    const WITNESS: &str = "witness.example/w1";

    /// A log that can sign any size up to its own; `seed` sets its leaves apart.
    struct Log {
        rows: MemoryRows,
        key: SecretKey,
    }

    impl Log {
        fn of(size: u64, seed: u8) -> Log {
            let (mut frontier, mut rows) = (Frontier::new(), MemoryRows::new());
            for index in 0..size {
                let leaf = [&[seed][..], &index.to_be_bytes()].concat();
                rows.extend(frontier.append(leaf_hash(&leaf)));
            }
            let key = SecretKey::from_seed(&[1; 32]);
            Log { rows, key }
        }

        fn head(&self, size: u64) -> Head {
            let root = tree::root_at(&self.rows, size).unwrap();
            Head { size, root }
        }

        fn note(&self, size: u64) -> String {
            let root = self.head(size).root;
            let origin = ORIGIN.to_owned();
            Checkpoint { origin, size, root }.sign(&self.key)
        }

        fn request(&self, old: u64, new: u64) -> AddCheckpoint {
            let proof = tree::consistency_proof(&self.rows, old, new).unwrap();
            AddCheckpoint::new(old, proof, &self.note(new)).unwrap()
        }

        fn keys(&self) -> [VerifierKey; 1] {
            [VerifierKey::log(ORIGIN, self.key.public())]
        }
    }

    fn status(decided: Result<(), WitnessRefusal>) -> u16 {
        decided.map_or_else(|refusal| refusal.status(), |()| 200)
    }

    #[test]
    fn a_request_reads_back_and_loose_writing_is_refused() {
        let log = Log::of(13, 0);
        for (old, new) in [(0, 0), (0, 13), (5, 13), (8, 8), (12, 13)] {
            let request = log.request(old, new);
            let text = request.encode();
            assert_eq!(AddCheckpoint::decode(text.as_bytes()), Ok(request));
        }
        let good = log.request(5, 13).encode();
        assert!(good.starts_with("old 5\n"), "{good}");
        for (bad, what) in [
            (good.replacen("old 5", "old 05", 1), "a leading zero"),
            (good.replacen("old 5", "old +5", 1), "a sign"),
            (good.replacen("old 5", "old  5", 1), "two spaces"),
            (good.replacen("old 5", "Old 5", 1), "another word"),
            (good.replacen("old 5\n", "", 1), "no old line"),
            (good.replacen("=\n", "\n", 1), "no padding"),
            (good.replacen("old 5\n", "old 5\nAA==\n", 1), "a short hash"),
            (good.replacen("old 5\n", "old 5\n\n", 1), "an early blank"),
            (good.replace('\n', "\r\n"), "carriage returns"),
            (good.trim_end().to_owned(), "no last line feed"),
            (
                good.replacen(ORIGIN, "ledger example", 1),
                "a bad checkpoint",
            ),
            (String::new(), "nothing"),
        ] {
            assert!(AddCheckpoint::decode(bad.as_bytes()).is_err(), "{what}");
        }
        let long = vec![Digest::ZERO; HASHES_MAX + 1];
        assert!(AddCheckpoint::new(5, long, &log.note(13)).is_err());
        let most = vec![Digest::ZERO; HASHES_MAX];
        let most = AddCheckpoint::new(5, most, &log.note(13)).unwrap();
        assert!(AddCheckpoint::decode(most.encode().as_bytes()).is_ok());
        assert!(AddCheckpoint::decode(&vec![b'\n'; REQUEST_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_log_that_grows_consistently_is_cosigned() {
        let log = Log::of(40, 0);
        let keys = log.keys();
        assert_eq!(decide(&log.request(0, 0), &keys, None), Ok(()));
        assert_eq!(decide(&log.request(0, 7), &keys, None), Ok(()));
        let mut last = log.head(7);
        for size in [7, 8, 9, 32, 33, 40] {
            let request = log.request(last.size, size);
            assert_eq!(decide(&request, &keys, Some(last)), Ok(()), "{size}");
            last = log.head(size);
        }
    }

    /// Each answer of the protocol, and that the first reason wins.
    #[test]
    fn every_refusal_has_its_status() {
        let (log, other) = (Log::of(20, 0), Log::of(20, 1));
        let (keys, last) = (log.keys(), Some(log.head(8)));
        let decided = |request: &AddCheckpoint| decide(request, &keys, last);
        let forged = |old, proof: Vec<Digest>, size| {
            AddCheckpoint::new(old, proof, &log.note(size)).unwrap()
        };
        assert_eq!(decided(&log.request(8, 20)), Ok(()));

        let malformed = AddCheckpoint::decode(b"old 1\n").unwrap_err();
        assert_eq!(WitnessRefusal::Malformed(malformed).status(), 400);
        assert_eq!(
            decided(&forged(9, vec![], 8)),
            Err(WitnessRefusal::OldAboveSize)
        );
        assert_eq!(status(decided(&forged(9, vec![], 8))), 400);

        let unknown = decide(&log.request(8, 20), &[], last);
        assert_eq!(unknown, Err(WitnessRefusal::UnknownOrigin));
        assert_eq!(status(unknown), 404);

        let stranger = SecretKey::from_seed(&[2; 32]);
        let strange = [VerifierKey::log(ORIGIN, stranger.public())];
        let unsigned = decide(&log.request(8, 20), &strange, last);
        assert_eq!(unsigned, Err(WitnessRefusal::NotSigned));
        assert_eq!(status(unsigned), 403);
        // Of two keys that the log has, one signature is enough.
        let both = [strange[0].clone(), keys[0].clone()];
        assert_eq!(decide(&log.request(8, 20), &both, last), Ok(()));
        let text = log.note(20).replacen("\n20\n", "\n19\n", 1);
        let altered = AddCheckpoint::new(8, vec![], &text).unwrap();
        assert_eq!(decided(&altered), Err(WitnessRefusal::NotSigned));
        // The key of another origin says nothing about this one.
        let elsewhere = [VerifierKey::log("ledger.example/1", log.key.public())];
        let unsigned = decide(&log.request(8, 20), &elsewhere, last);
        assert_eq!(unsigned, Err(WitnessRefusal::NotSigned));

        for old in [0, 7, 9] {
            let refusal = decided(&log.request(old, 20)).unwrap_err();
            assert_eq!(refusal, WitnessRefusal::NotLast { size: 8 });
            let (status, kind) = (refusal.status(), refusal.content_type());
            assert_eq!((status, kind), (409, "text/x.tlog.size"));
            assert_eq!(refusal.body(), "8\n");
            assert_eq!(parse_size(&refusal.body()), Some(8));
        }

        for (request, what) in [
            (other.request(8, 20), "another history"),
            (forged(8, vec![], 20), "no proof"),
            (forged(8, vec![Digest::ZERO; 3], 20), "another proof"),
            (other.request(8, 8), "another root at the same size"),
            (forged(8, vec![Digest::ZERO], 8), "a proof to the same size"),
        ] {
            assert_eq!(
                decided(&request),
                Err(WitnessRefusal::Inconsistent),
                "{what}"
            );
            assert_eq!(status(decided(&request)), 422, "{what}");
        }
        let proof_from_nothing = forged(0, vec![Digest::ZERO], 8);
        let decided = decide(&proof_from_nothing, &keys, None);
        assert_eq!(status(decided), 422);
    }

    #[test]
    fn a_size_is_read_as_it_is_written() {
        for bad in ["", "8", "08\n", "-1\n", "8\n\n", " 8\n"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
        assert_eq!(parse_size("0\n"), Some(0));
    }

    /// A node must not believe what a witness, or who stands before it, makes up.
    #[test]
    fn only_a_cosignature_that_verifies_is_accepted() {
        let log = Log::of(9, 0);
        let key = SecretKey::from_seed(&[5; 32]);
        let witness = VerifierKey::cosigner(WITNESS, key.public());
        let request = log.request(0, 9);
        let line = cosign(&request, WITNESS, &key, 1_700_000_000);
        let stranger = cosign(&request, "stranger", &SecretKey::from_seed(&[6; 32]), 1);
        let answer = format!("{stranger}{line}");
        let cosigned = accept(&log.note(9), &answer, &witness).unwrap();
        assert_eq!(cosigned.time_s, 1_700_000_000);
        let note = Note::parse(cosigned.note.as_bytes()).unwrap();
        assert_eq!(note.vouch(&log.keys()[0]), Vouch::Signed);
        let time_s = 1_700_000_000;
        assert_eq!(note.vouch(&witness), Vouch::Cosigned { time_s });
        assert_eq!(note.signatures.len(), 2, "the stranger's line is left out");
        for bad in ["", "\n", &stranger, line.trim_end(), "cosigned, honestly\n"] {
            assert!(accept(&log.note(9), bad, &witness).is_err(), "{bad:?}");
        }
        // The cosignature of another size, passed off as one of this.
        assert!(accept(&log.note(8), &line, &witness).is_err());
    }

    #[test]
    fn what_a_witness_keeps_has_no_strangers_lines() {
        let log = Log::of(9, 0);
        let key = SecretKey::from_seed(&[5; 32]);
        let plain = log.request(0, 9);
        let line = cosign(&plain, WITNESS, &key, 7);
        let stranger = cosign(&plain, "stranger", &SecretKey::from_seed(&[6; 32]), 1);
        let own = log.note(9);
        let twice = own.lines().last().unwrap();
        let submitted = format!("{own}{stranger}{twice}\n");
        let request = AddCheckpoint::new(0, vec![], &submitted).unwrap();
        let kept = request.cosigned(&log.keys(), &line);
        assert_eq!(kept, format!("{}{line}", log.note(9)));
    }
}
