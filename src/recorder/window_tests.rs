//! The submit protocol by script: numbers, batches, answers, losses, look-ups.
//!
//! Each line is a step and, behind `=>`, what it must come to. The window and the reading
//! of answers are pure, so that every script says all there is to it.

use super::Recorded;
use super::answers::{Landed, LookedUp, Then, landed, looked_up};
use super::route::RouteLost;
use super::window::{SendWindow, UNRESOLVED_MAX};
use crate::domain::command::{Answer, Submission};
use crate::domain::ids::{NodeId, OutboxId, RecordIndex, Sequence};
use crate::ledger::rows::{LaneRow, WindowRow};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::Signature;
use muniment_evidence::opening::{Actor, Opening, commit_actor, commit_document};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};

const LANE: Lane = Lane::Strict(RecordIndex::new(7));

fn submission(seq: u64, prev: Digest) -> Submission {
    let document = Opening::public(vec![seq as u8; 100]);
    let actor = Opening::public(Actor::default().encode());
    let statement = Statement {
        kind: Kind::Issue,
        mode: Mode::None,
        level: Level::None,
        ledger: Digest([1; 32]),
        node: NodeId::new(1),
        lane: LANE,
        seq: Sequence::new(seq),
        prev,
        witnessed_at_ms: 0,
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

/// One lane under a script; whoever waits for a statement is its number.
#[derive(Default)]
struct Script {
    window: SendWindow<u64>,
    length: usize,
}

impl Script {
    fn number(&mut self, count: u64) -> String {
        for _ in 0..count {
            let (seq, prev) = self.window.next();
            let submission = submission(seq.get(), prev);
            self.length = submission.encoded_length();
            self.window.push(submission, Some(seq.get()));
        }
        format!("next {}", self.window.next().0)
    }

    /// Sends at most so many statements together.
    fn send(&mut self, most: usize) -> String {
        let Some(batch) = self.window.batch(most * self.length) else {
            return "nothing".into();
        };
        let (first, count) = (batch.first_seq, batch.submissions.len());
        self.window.sent(first, count, batch.bytes);
        format!("sent {}", run(first.get(), count))
    }

    fn settle(&mut self, recorded: &[(Sequence, Recorded)]) -> String {
        let mut told = Vec::new();
        for (seq, recorded) in recorded {
            if let Some(waiter) = self.window.resolve(*seq) {
                assert_eq!(Sequence::new(waiter), *seq);
                told.push(format!("{seq}@{}", recorded.index));
            }
        }
        match told.is_empty() {
            true => "nobody".into(),
            false => told.join(" "),
        }
    }

    /// What came back for the statements from `first` on.
    fn answer(&mut self, lane: Lane, first: u64, words: &[&str]) -> String {
        let answered = match words {
            ["lost"] => Err(RouteLost::Ended),
            ["short"] => Ok(Vec::new()),
            words => Ok(words.iter().map(|word| answer(word)).collect()),
        };
        let Landed { recorded, then } = landed(lane, Sequence::new(first), words.len(), answered);
        let told = self.settle(&recorded);
        match then {
            Then::GoOn => told,
            Then::LookUp(why) => format!("{told}; look up: {why}"),
            Then::Stop(why) => format!("{told}; stop at {}: {}", why.seq, why.what),
        }
    }

    /// The applied state has the lane up to `next`.
    fn look_up(&mut self, next: u64, but: &[&str]) -> String {
        let row = LaneRow {
            next_seq: Sequence::new(next),
            last: Digest::ZERO,
            closed: but.contains(&"closed"),
        };
        let unresolved = self.window.unresolved().into_iter();
        let taken = unresolved.take_while(|(seq, _)| *seq < Sequence::new(next));
        let seen: Vec<_> = taken
            .map(|(seq, hash)| match but {
                ["other", at] if at.parse() == Ok(seq.get()) => {
                    (seq, hash, Some(seen(seq.get(), Digest::ZERO)))
                }
                ["forgotten", at] if at.parse() == Ok(seq.get()) => (seq, hash, None),
                _ => (seq, hash, Some(seen(seq.get(), hash))),
            })
            .collect();
        let LookedUp {
            recorded,
            contradiction,
        } = looked_up(&row, &seen);
        let told = self.settle(&recorded);
        if let Some(why) = contradiction {
            return format!("{told}; stop at {}: {}", why.seq, why.what);
        }
        self.window.go_back();
        format!("{told}; left {}", self.window.len())
    }

    fn step(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse().expect("a number");
        match words[..] {
            ["number", count] => self.number(number(count)),
            ["send", most] => self.send(number(most) as usize),
            ["answer", first, ref words @ ..] => self.answer(LANE, number(first), words),
            ["outbox", first, ref words @ ..] => {
                self.answer(Lane::Outbox(OutboxId::new(7)), number(first), words)
            }
            ["look-up", next, ref but @ ..] => self.look_up(number(next), but),
            _ => panic!("no such step: {line}"),
        }
    }
}

fn run(first: u64, count: usize) -> String {
    format!("{first}..{}", first + count as u64)
}

/// Record 100 and on.
fn seen(seq: u64, hash: Digest) -> WindowRow {
    WindowRow {
        hash,
        index: RecordIndex::new(100 + seq),
        outcome: Outcome::Ok,
    }
}

fn answer(word: &str) -> Answer {
    match word.split_once(':') {
        Some(("ok", index)) => Answer::Recorded {
            index: RecordIndex::new(index.parse().expect("an index")),
            outcome: Outcome::Ok,
        },
        Some(("gap", next)) => Answer::Gap {
            next: Sequence::new(next.parse().expect("a number")),
        },
        _ => match word {
            "equivocation" => Answer::Equivocation,
            "closed" => Answer::LaneClosed,
            "forgotten" => Answer::Forgotten,
            "wrong-ledger" => Answer::WrongLedger,
            _ => panic!("no such answer: {word}"),
        },
    }
}

fn play(script: &str) {
    let mut lane = Script::default();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (step, expected) = line.split_once("=>").expect("a step and what it comes to");
        assert_eq!(lane.step(step), expected.trim(), "at: {line}");
    }
}

#[test]
fn statements_are_numbered_batched_and_resolved_in_order() {
    play(
        "number 5                       => next 5
         send 2                         => sent 0..2
         send 2                         => sent 2..4
         answer 0 ok:10 ok:11           => 0@10 1@11
         number 1                       => next 6
         send 9                         => sent 4..6
         send 9                         => nothing
         answer 2 ok:12 ok:13           => 2@12 3@13
         answer 4 ok:14 ok:15           => 4@14 5@15
         look-up 6                      => nobody; left 0",
    );
}

/// Several batches are in flight; the later one may be answered first.
#[test]
fn answers_may_overtake_each_other() {
    play(
        "number 4                       => next 4
         send 2                         => sent 0..2
         send 2                         => sent 2..4
         answer 2 ok:12 ok:13           => 2@12 3@13
         number 1                       => next 5
         send 9                         => sent 4..5
         answer 0 ok:10 ok:11           => 0@10 1@11
         answer 4 ok:14                 => 4@14
         look-up 5                      => nobody; left 0",
    );
}

/// What a lost route has not answered may or may not be recorded: only the applied state
/// tells, and what it has not is sent again under the same numbers.
#[test]
fn a_lost_route_is_looked_up_and_the_rest_is_sent_again() {
    play(
        "number 5                       => next 5
         send 2                         => sent 0..2
         send 2                         => sent 2..4
         answer 0 lost                  => nobody; look up: the stream to the leader ended
         look-up 3                      => 0@100 1@101 2@102; left 2
         send 9                         => sent 3..5
         answer 3 ok:103 ok:104         => 3@103 4@104",
    );
    // Nothing of it has come: all of it goes again.
    play(
        "number 3                       => next 3
         send 9                         => sent 0..3
         answer 0 lost                  => nobody; look up: the stream to the leader ended
         look-up 0                      => nobody; left 3
         send 2                         => sent 0..2
         send 2                         => sent 2..3",
    );
    // Lost twice, and numbered meanwhile.
    play(
        "number 2                       => next 2
         send 1                         => sent 0..1
         answer 0 lost                  => nobody; look up: the stream to the leader ended
         look-up 1                      => 0@100; left 1
         number 1                       => next 3
         send 9                         => sent 1..3
         answer 1 lost                  => nobody; look up: the stream to the leader ended
         look-up 3                      => 1@101 2@102; left 0",
    );
}

/// A new leader has not got what was sent to the old one: it answers with a gap.
#[test]
fn a_gap_is_believed_up_to_where_it_is() {
    play(
        "number 4                       => next 4
         send 4                         => sent 0..4
         answer 0 ok:10 gap:1 gap:1 gap:1 => 0@10; look up: the ledger expects seq 1, not 1
         look-up 1                      => nobody; left 3
         send 9                         => sent 1..4
         answer 1 ok:11 ok:12 ok:13     => 1@11 2@12 3@13",
    );
}

#[test]
fn an_answer_that_is_not_whole_says_nothing() {
    play(
        "number 2                       => next 2
         send 2                         => sent 0..2
         answer 0 short                 => nobody; look up: answers are missing
         look-up 2                      => 0@100 1@101; left 0",
    );
}

/// The same statement again is answered with the record that it became: nobody is told
/// twice, and nothing is recorded twice.
#[test]
fn a_repeated_answer_tells_nobody() {
    play(
        "number 2                       => next 2
         send 1                         => sent 0..1
         send 1                         => sent 1..2
         answer 0 ok:10                 => 0@10
         answer 0 ok:10                 => nobody
         answer 1 ok:11                 => 1@11",
    );
}

#[test]
fn a_contradiction_stops_the_node_after_what_is_known_is_told() {
    let what = "the ledger holds another statement under this number";
    play(&format!(
        "number 3                       => next 3
         send 3                         => sent 0..3
         answer 0 ok:10 equivocation ok:12 => 0@10; stop at 1: {what}"
    ));
    play(&format!(
        "number 3                       => next 3
         send 3                         => sent 0..3
         answer 0 lost                  => nobody; look up: the stream to the leader ended
         look-up 3 other 1              => 0@100; stop at 1: {what}"
    ));
    play(
        "number 1                       => next 1
         send 1                         => sent 0..1
         answer 0 closed                => nobody; stop at 0: a later boot of this node id has closed the lane",
    );
    play(
        "number 1                       => next 1
         look-up 0 closed               => nobody; stop at 0: a later boot of this node id has closed the lane",
    );
    play(
        "number 1                       => next 1
         send 1                         => sent 0..1
         answer 0 wrong-ledger          => nobody; stop at 0: this ledger does not take it",
    );
    play(
        "number 2                       => next 2
         send 2                         => sent 0..2
         look-up 2 forgotten 1          => 0@100; stop at 1: the ledger no longer remembers this number",
    );
}

/// What the ledger has forgotten of a strict lane was never unresolved here; an outbox may
/// have waited on its disk for longer than the ledger remembers.
#[test]
fn only_an_outbox_may_be_forgotten() {
    play(
        "number 1                       => next 1
         send 1                         => sent 0..1
         outbox 0 forgotten             => nobody; look up: the ledger has long had seq 0",
    );
    play(
        "number 1                       => next 1
         send 1                         => sent 0..1
         answer 0 forgotten             => nobody; stop at 0: the ledger no longer remembers this number",
    );
}

#[test]
fn an_outbox_agrees_where_the_last_hash_does() {
    use super::answers::outbox_agrees;
    let mut row = LaneRow {
        next_seq: Sequence::new(3),
        last: Digest([3; 32]),
        closed: false,
    };
    assert!(outbox_agrees(&row, Some(Digest([3; 32]))).is_ok());
    // The file has another statement there, or never had one.
    for before in [Some(Digest([4; 32])), None] {
        let why = outbox_agrees(&row, before).unwrap_err();
        assert_eq!(
            (why.seq.get(), why.what),
            (3, "the ledger holds another past")
        );
    }
    row.closed = true;
    let why = outbox_agrees(&row, Some(Digest([3; 32]))).unwrap_err();
    assert_eq!(why.what, "the lane is closed");
}

#[test]
fn the_window_is_as_long_as_the_ledger_remembers() {
    let mut lane = Script::default();
    lane.number(UNRESOLVED_MAX as u64 - 1);
    assert!(!lane.window.is_full());
    lane.number(1);
    assert!(lane.window.is_full());
    lane.send(UNRESOLVED_MAX);
    lane.answer(LANE, 0, &["ok:10"]);
    assert!(!lane.window.is_full());
}

#[test]
#[should_panic(expected = "numbers follow on")]
fn a_number_is_never_taken_twice() {
    let mut lane = Script::default();
    lane.number(1);
    lane.window.push(submission(0, Digest::ZERO), None);
}

#[test]
#[should_panic(expected = "a lane is recorded in order")]
fn nothing_is_recorded_behind_what_is_not() {
    let mut lane = Script::default();
    lane.number(2);
    lane.send(2);
    lane.settle(&[(
        Sequence::new(1),
        Recorded {
            index: RecordIndex::new(1),
            outcome: Outcome::Ok,
        },
    )]);
    lane.window.go_back();
}

/// Any order of sending, answering, losing and looking up, against a ledger that takes
/// what follows on: each statement is recorded once, in order, and told once.
#[test]
fn each_statement_is_recorded_and_told_once_in_any_order_of_events() {
    for seed in 1..200u64 {
        let mut random = seed;
        let mut draw = |below: u64| {
            // Xorshift: the same on every machine.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut lane = Script::default();
        // What the ledger has taken, by number; and batches that are on their way.
        let (mut taken, mut told) = (Vec::<Digest>::new(), Vec::<u64>::new());
        let mut flying: Vec<(u64, Vec<Submission>)> = Vec::new();
        for _ in 0..300 {
            match draw(6) {
                0 => drop(lane.number(draw(4))),
                1 | 2 => {
                    if let Some(batch) = lane.window.batch((1 + draw(3) as usize) * lane.length) {
                        let (first, count) = (batch.first_seq, batch.submissions.len());
                        lane.window.sent(first, count, batch.bytes);
                        flying.push((first.get(), batch.submissions));
                    }
                }
                3 | 4 if !flying.is_empty() => {
                    // In order of sending, or one has been overtaken: then it is a gap.
                    let (first, batch) =
                        flying.remove(draw(2).min(flying.len() as u64 - 1) as usize);
                    let answers: Vec<Answer> = batch.iter().map(|s| take(&mut taken, s)).collect();
                    let landed = landed(LANE, Sequence::new(first), batch.len(), Ok(answers));
                    settle(&mut lane, &landed.recorded, &mut told);
                    match landed.then {
                        Then::GoOn => {}
                        Then::LookUp(_) => look_up(&mut lane, &taken, &mut told, &mut flying),
                        Then::Stop(why) => panic!("seed {seed}: {why:?}"),
                    }
                }
                5 => {
                    // The route is lost: what was under way arrives or does not.
                    for (_, batch) in flying.drain(..) {
                        if draw(2) == 0 {
                            for submission in &batch {
                                take(&mut taken, submission);
                            }
                        }
                    }
                    look_up(&mut lane, &taken, &mut told, &mut flying);
                }
                _ => {}
            }
        }
        // Told once each: those that are left are the last ones.
        let mut sorted = told.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), told.len(), "seed {seed}");
        let numbered = lane.window.next().0;
        assert_eq!(
            told.len() + lane.window.unresolved().len(),
            numbered.get() as usize
        );
        assert!(taken.len() as u64 <= numbered.get());
    }
}

/// As `ledger/lanes` takes: exactly the next, or what it became before.
fn take(taken: &mut Vec<Digest>, submission: &Submission) -> Answer {
    let (seq, hash) = (submission.statement.seq, submission.statement.hash());
    let next = taken.len() as u64;
    let recorded = Answer::Recorded {
        index: RecordIndex::new(100 + seq.get()),
        outcome: Outcome::Ok,
    };
    if seq > Sequence::new(next) {
        return Answer::Gap {
            next: Sequence::new(next),
        };
    }
    if seq < Sequence::new(next) {
        assert_eq!(
            taken[seq.get() as usize],
            hash,
            "the same bytes are sent again"
        );
        return recorded;
    }
    assert_eq!(
        submission.statement.prev,
        taken.last().copied().unwrap_or(Digest::ZERO)
    );
    taken.push(hash);
    recorded
}

fn settle(lane: &mut Script, recorded: &[(Sequence, Recorded)], told: &mut Vec<u64>) {
    for (seq, _) in recorded {
        told.extend(lane.window.resolve(*seq));
    }
}

fn look_up(
    lane: &mut Script,
    taken: &[Digest],
    told: &mut Vec<u64>,
    flying: &mut Vec<(u64, Vec<Submission>)>,
) {
    flying.clear();
    let unresolved = lane.window.unresolved().into_iter();
    let known = unresolved.take_while(|(seq, _)| *seq < Sequence::new(taken.len() as u64));
    let seen: Vec<_> = known
        .map(|(seq, hash)| (seq, hash, Some(seen(seq.get(), taken[seq.get() as usize]))))
        .collect();
    let row = LaneRow {
        next_seq: Sequence::new(taken.len() as u64),
        last: Digest::ZERO,
        closed: false,
    };
    let found = looked_up(&row, &seen);
    assert_eq!(found.contradiction, None);
    settle(lane, &found.recorded, told);
    lane.window.go_back();
}
