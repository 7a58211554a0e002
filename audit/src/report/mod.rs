//! A report of the kernel in words for people and as JSON for machines.
//!
//! Promises: names in JSON are stable; nothing is called issued or downloaded unless the
//! report holds; what nobody signed is called so wherever it is shown (in JSON it stands under
//! `unsigned`, and nowhere else); text from the evidence cannot drive a terminal. Leaves finding anything to
//! [`muniment_evidence::verify`].

mod json;
mod text;

pub use json::{to_json, to_value};
pub use text::to_text;
