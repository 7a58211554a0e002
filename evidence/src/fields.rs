//! Structures that are written field by field: a declaration says the type of each field and its
//! limit, and encoding, decoding and the limits follow from it.
//!
//! Promises: what is written is the fields in the order of the declaration, each as its type is
//! written (FORMAT.md, section 1); a field that breaks its limit is named as it is declared.
//! Leaves what the fields mean to whoever declares them.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::endorsement::Endorsements;
use crate::ids::{BodyId, NodeId, RecordIndex, RecoveryEpoch, TreeSize};
use crate::keychange::{KeyChange, read_change, write_change};
use crate::system::Setting;

/// What a field can be.
pub(crate) trait Field: Sized {
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Declares such a structure: `pub name: Type = limit`, a function of [`crate::limits`], or
/// nothing where the type has no more values than it may.
macro_rules! fields {
    ($(#[$about:meta])* pub struct $type:ident {
        $($(#[$field_about:meta])* pub $field:ident: $of:ty $(= $limit:expr)?,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $type {
            $($(#[$field_about])* pub $field: $of,)+
        }

        impl $crate::fields::Field for $type {
            fn write(&self, w: &mut $crate::codec::Writer) {
                $($crate::fields::Field::write(&self.$field, w);)+
            }

            fn read(
                r: &mut $crate::codec::Reader<'_>,
            ) -> Result<$type, $crate::codec::DecodeError> {
                Ok($type {
                    $($field: $crate::fields::Field::read(r)?,)+
                })
            }
        }

        impl $type {
            /// Whether every text and list is within its limit.
            #[allow(clippy::redundant_closure_call, reason = "a limit may be a closure")]
            pub(crate) fn within_limits(&self) -> Result<(), $crate::limits::UnfitField> {
                $($(($limit)(stringify!($field), &self.$field)?;)?)+
                Ok(())
            }

            /// Each field by its name, for who shows them to people.
            pub fn named(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), format!("{:?}", self.$field))),+]
            }
        }
    };
}

/// Enums of one byte as fields: a code that no member has does not decode.
macro_rules! coded_fields {
    ($($type:ident $expected:literal,)+) => {$(
        impl $crate::fields::Field for $type {
            fn write(&self, w: &mut $crate::codec::Writer) {
                w.u8(*self as u8);
            }

            fn read(
                r: &mut $crate::codec::Reader<'_>,
            ) -> Result<$type, $crate::codec::DecodeError> {
                $type::from_code(r.u8()?).ok_or_else(|| r.error($expected))
            }
        }
    )+};
}

pub(crate) use {coded_fields, fields};

/// Types that the codec knows: how each is written and read.
macro_rules! plain_fields {
    ($($type:ty: |$w:ident, $value:ident| $write:expr, $read:expr;)+) => {$(
        impl Field for $type {
            fn write(&self, $w: &mut Writer) {
                let $value = self;
                $write;
            }

            fn read(r: &mut Reader<'_>) -> Result<$type, DecodeError> {
                $read(r)
            }
        }
    )+};
}

plain_fields! {
    u8: |w, v| w.u8(*v), Reader::u8;
    u32: |w, v| w.u32(*v), Reader::u32;
    u64: |w, v| w.u64(*v), Reader::u64;
    i128: |w, v| w.raw(&v.to_be_bytes()), |r: &mut Reader<'_>| r.array().map(i128::from_be_bytes);
    bool: |w, v| w.u8(u8::from(*v)), Reader::flag;
    String: |w, v| w.text(v), Reader::text;
    Digest: |w, v| w.digest(v), Reader::digest;
    [u8; 16]: |w, v| w.raw(v), Reader::array;
    BodyId: |w, v| w.raw(v.as_bytes()), |r: &mut Reader<'_>| r.array().map(BodyId::new);
    NodeId: |w, v| w.u64(v.get()), NodeId::read;
    RecordIndex: |w, v| w.u64(v.get()), RecordIndex::read;
    TreeSize: |w, v| w.u64(v.get()), TreeSize::read;
    RecoveryEpoch: |w, v| w.u64(v.get()), RecoveryEpoch::read;
    Setting: |w, v| v.write(w), Setting::read;
    KeyChange: |w, v| write_change(w, v), read_change;
    Endorsements: |w, v| v.write(w), Endorsements::read;
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, w: &mut Writer) {
        w.list(self, |w, item| item.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Vec<T>, DecodeError> {
        r.list(T::read)
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, w: &mut Writer) {
        w.option(self.as_ref(), |w, value| value.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Option<T>, DecodeError> {
        r.option(T::read)
    }
}
