//! The laws of the house, checked by reading the sources: one file for each law.
//!
//! Promises that each line that breaks a law is named, all at once, and that each law is
//! tried on text that breaks it. Leaves what the compiler and clippy see to them. Knows
//! little of Rust's grammar: comments and literals are blanked, then words are looked for,
//! so that a law can be read in a minute.
//!
//! 1. [`layers`]: a layer of `src/` uses only layers above it
//! 2. [`doors`]: RocksDB, openraft, tonic, the machine's time and chance have one door each
//! 3. [`type_names`]: no public type name twice
//! 4. [`lengths`]: files below 600 lines, functions up to 100
//! 5. [`headers`]: each file says what it is for; names say what is inside
//! 6. [`bare_ids`]: ids and indexes are types of their own
//! 7. [`test_files`]: where tests lie, and that a long file names its tests
//! 8. [`sources_kept`]: an error keeps its source
//! 9. [`limits`]: what a limit owes to another is a `const` assertion

mod bare_ids;
mod doors;
mod headers;
mod layers;
mod lengths;
mod limits;
mod reading;
mod sources_kept;
mod test_files;
mod type_names;
