//! The one form of a name: of invoices, tenants, ledgers and places.
//!
//! Two names that look alike must not be two invoices. A name is refused, never changed, unless it
//! is in normal form C, has no blank at its ends and no two beside each other, and no character
//! that cannot be seen or is not assigned, by the tables of [`UNICODE_VERSION`]. Promises that a
//! refusal names the character. The version belongs to the feature level: other tables would
//! decide otherwise. Names that differ in case or width alone are different;
//! [`look`] finds them. Leaves which fields are names to [`crate::limits`].
//!
//! Tests: `evidence/tests/names.rs`.

use std::fmt;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// By whose tables it is decided.
pub const UNICODE_VERSION: (u8, u8, u8) = (18, 0, 0);

const _: () = {
    let (of_form, of_kind) = (
        unicode_normalization::UNICODE_VERSION,
        unicode_properties::UNICODE_VERSION,
    );
    let (major, minor, patch) = UNICODE_VERSION;
    assert!(of_form.0 == major && of_form.1 == minor && of_form.2 == patch);
    assert!(of_kind.0 == major as u64 && of_kind.1 == minor as u64 && of_kind.2 == patch as u64);
};

/// Characters that are not seen, beside those whose category says so: what Unicode calls
/// default ignorable, and the empty pattern of Braille.
const UNSEEN: [(char, char); 10] = [
    ('\u{34f}', '\u{34f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Why a text is no name: what of it, and the place of the character, the first being 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameFault {
    pub what: NameFaultKind,
    pub character: char,
    pub place: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFaultKind {
    /// At the beginning or the end.
    BlankAtEnd,
    BlankBesideBlank,
    /// Control, format, direction or zero width.
    Unseen,
    /// To nothing, by the tables of this version.
    Unassigned,
    /// Another sequence of characters is the same text.
    NotComposed,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = u32::from(self.character);
        let place = self.place;
        match self.what {
            NameFaultKind::BlankAtEnd => {
                write!(
                    f,
                    "begins or ends with a blank, U+{code:04X} at character {place}"
                )
            }
            NameFaultKind::BlankBesideBlank => {
                write!(
                    f,
                    "has two blanks together, U+{code:04X} at character {place}"
                )
            }
            NameFaultKind::Unseen => write!(
                f,
                "has a character that is not seen, U+{code:04X} at character {place}"
            ),
            NameFaultKind::Unassigned => {
                let (major, minor, _) = UNICODE_VERSION;
                write!(
                    f,
                    "has a character that Unicode {major}.{minor} does not know, U+{code:04X} at \
                     character {place}"
                )
            }
            NameFaultKind::NotComposed => write!(
                f,
                "is not in Unicode's normal form C, from U+{code:04X} at character {place} on"
            ),
        }
    }
}

impl std::error::Error for NameFault {}

/// Whether a text is in the form of a name; an empty one is.
pub fn check(text: &str) -> Result<(), NameFault> {
    if is_plain(text) {
        return Ok(());
    }
    let mut before = None;
    let mut place = 0;
    for character in text.chars() {
        place += 1;
        let fault = |what| NameFault {
            what,
            character,
            place,
        };
        if let Some(what) = unfit(character) {
            return Err(fault(what));
        }
        if is_blank(character) {
            match before {
                None => return Err(fault(NameFaultKind::BlankAtEnd)),
                Some(before) if is_blank(before) => {
                    return Err(fault(NameFaultKind::BlankBesideBlank));
                }
                Some(_) => {}
            }
        }
        before = Some(character);
    }
    if let Some(character) = before.filter(|last| is_blank(*last)) {
        let what = NameFaultKind::BlankAtEnd;
        return Err(NameFault {
            what,
            character,
            place,
        });
    }
    composed(text)
}

/// Whether it is a name without a look into the tables, as most are: letters, digits and signs
/// of ASCII, with single blanks between them.
fn is_plain(text: &str) -> bool {
    let mut blank = true;
    for byte in text.bytes() {
        match byte {
            b' ' if blank => return false,
            b' ' => blank = true,
            b'!'..=b'~' => blank = false,
            _ => return false,
        }
    }
    text.is_empty() || !blank
}

/// By the same tables as all else, and not by those that the compiler brings.
fn is_blank(character: char) -> bool {
    character.general_category() == GeneralCategory::SpaceSeparator
}

/// What is wrong with a character wherever it stands.
fn unfit(character: char) -> Option<NameFaultKind> {
    let unseen = UNSEEN
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&character));
    match character.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => Some(NameFaultKind::Unseen),
        _ if unseen => Some(NameFaultKind::Unseen),
        GeneralCategory::Unassigned => Some(NameFaultKind::Unassigned),
        _ => None,
    }
}

fn composed(text: &str) -> Result<(), NameFault> {
    let mut normal = text.nfc();
    for (at, character) in text.chars().enumerate() {
        if normal.next() != Some(character) {
            return Err(NameFault {
                what: NameFaultKind::NotComposed,
                character,
                place: at + 1,
            });
        }
    }
    Ok(())
}

/// What a name looks like to who does not mind the case and width of letters: names with one
/// look are not the same, and are easily taken for each other.
pub fn look(name: &str) -> String {
    name.nfkd().flat_map(lower).collect()
}

/// Scripts with case whose tables were full long ago lie below: what a compiler knows of them
/// does not change, and a test holds it. Letters beyond keep their case.
const CASED_BEFORE: char = '\u{3000}';

fn lower(letter: char) -> impl Iterator<Item = char> {
    let cased = letter < CASED_BEFORE;
    // The one small letter of these with two forms, by where in a word it stands.
    let letter = if letter == 'ς' { 'σ' } else { letter };
    let small = cased.then(|| letter.to_lowercase());
    let itself = (!cased).then_some(letter);
    small.into_iter().flatten().chain(itself)
}
