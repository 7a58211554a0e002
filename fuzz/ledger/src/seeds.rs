//! What the search begins with: each thing that was said, once more, and longer plays.
//!
//! Promises that some of it is OK on the filled ledger: what is only refused could be
//! searched for ever.

use crate::filled::FILLED;
use crate::running::Running;
use muniment::domain::command::{Command, ProposedSubmission};

/// The first inputs.
pub fn all() -> Vec<Vec<u8>> {
    let said = FILLED.said.len() as u8;
    let alone = |which: u8| vec![0, 0, which, 0];
    let mut seeds: Vec<Vec<u8>> = (0..said).map(alone).collect();
    // Everything not yet said, one after the other, and as commands of three.
    let unsaid: Vec<u8> = (FILLED.unsaid as u8..said).collect();
    seeds.push(unsaid.iter().flat_map(|which| alone(*which)).collect());
    for three in unsaid.chunks(3) {
        let several = three.iter().flat_map(|which| [*which, 0]);
        seeds.push([7 | 1 << 3, 0].into_iter().chain(several).collect());
    }
    // The same again; a new leader; the voters of the change in preparation, which is done.
    seeds.push([alone(unsaid[0]), vec![0, 0, said + 1, 0]].concat());
    seeds.push([vec![5 | 1 << 3], alone(5)].concat());
    let done = FILLED.unsaid as u8 + 8;
    seeds.push([vec![6, 0b1111, 0b1011, 0, 6, 0b1011, 0, 0], alone(done)].concat());
    // Each way to bend one.
    for bit in 0..8 {
        seeds.push(vec![
            0,
            0,
            unsaid[0],
            1 << bit,
            9,
            9,
            9,
            9,
            9,
            9,
            9,
            9,
            9,
            9,
            9,
            9,
        ]);
    }
    // A command and a document by their own bytes.
    let running: Running = FILLED.begin();
    let submission = FILLED.said[FILLED.unsaid].submission(&running);
    let document = submission.document.bytes[2..].to_vec();
    let command = Command {
        proposed_at_ms: 1,
        submissions: vec![ProposedSubmission::from(submission)],
    };
    let framed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    seeds.push([vec![4], framed(&command.encode())].concat());
    seeds.push([vec![0, 0, said, 0, 3], framed(&document)].concat());
    seeds
}
