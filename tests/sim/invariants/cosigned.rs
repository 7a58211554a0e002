//! Invariant: what was cosigned is the log.
//!
//! Whatever crashed or was cut off meanwhile, every cosigned note that a caller was given
//! has the root that the one final log has at its size, and no node ever met another root
//! (that would have stopped it, which fails the run).

use crate::world::End;
use muniment::domain::ids::TreeSize;

pub fn check(end: &End) -> Result<(), String> {
    let seen = end.cluster.oracle.seen();
    if seen.notes.is_empty() {
        return Err("no caller was given a cosigned note in the whole run".into());
    }
    for (size, root) in &seen.notes {
        let final_root = end
            .log
            .read(|tables| tables.root_at(TreeSize::new(*size)))
            .map_err(|error| error.to_string())?;
        if final_root != *root {
            return Err(format!(
                "a note of size {size} has root {root}; the log has {final_root}"
            ));
        }
    }
    Ok(())
}
