//! Kinds whose bytes came before their features, as one document; BODY_LOST, WAIVER and CONFIG
//! have come.
//!
//! Promises: each is read and written in one way, and refused where it contradicts itself. What
//! is planned is all that later versions may say under format v2 without another version byte.
//! Leaves the fields to [`crate::tenancy`], [`crate::losses`], [`crate::retention`] and
//! [`crate::month`].
//!
//! Tests: `evidence/tests/planned.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::fields::Field as _;
use crate::limits::UnfitField;
pub use crate::losses::{BodyLostDocument, EpochDocument, WaiverDocument};
pub use crate::month::{MonthDocument, MonthSum};
pub use crate::retention::{EraseDocument, ErasedDocument, HoldDocument, RetentionDocument};
use crate::statement::Kind;
pub use crate::tenancy::{
    AdminDocument, CheckDocument, ConfigDocument, ExportDocument, GrantDocument, TenantDocument,
};

/// Writes the enum of them: the kind of each, its document, and what it must not contradict.
macro_rules! planned {
    ($($kind:ident($document:ident) if $sound:expr,)+) => {
        /// A document of a kind that is planned.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum PlannedDocument {
            $($kind($document),)+
        }

        impl PlannedDocument {
            pub fn kind(&self) -> Kind {
                match self {
                    $(PlannedDocument::$kind(_) => Kind::$kind,)+
                }
            }

            pub(crate) fn write(&self, w: &mut Writer) {
                match self {
                    $(PlannedDocument::$kind(d) => d.write(w),)+
                }
            }

            pub(crate) fn read(kind: Kind, r: &mut Reader<'_>) -> Result<PlannedDocument, DecodeError> {
                let sound: fn(&PlannedDocument) -> bool;
                let document = match kind {
                    $(Kind::$kind => {
                        sound = |document| match document {
                            PlannedDocument::$kind(d) => $sound(d),
                            _ => false,
                        };
                        PlannedDocument::$kind($document::read(r)?)
                    })+
                    _ => return Err(r.error("a kind whose opening this version knows")),
                };
                match sound(&document) {
                    true => Ok(document),
                    false => Err(r.error("a document that does not contradict itself")),
                }
            }

            pub(crate) fn within_limits(&self) -> Result<(), UnfitField> {
                match self {
                    $(PlannedDocument::$kind(d) => d.within_limits(),)+
                }
            }

            /// Each field by its name, for who shows them to people.
            pub fn named(&self) -> Vec<(&'static str, String)> {
                match self {
                    $(PlannedDocument::$kind(d) => d.named(),)+
                }
            }
        }
    };
}

fn always<T>(_: &T) -> bool {
    true
}

planned! {
    Check(CheckDocument) if always,
    Restore(EpochDocument) if EpochDocument::is_restore,
    Recovery(EpochDocument) if EpochDocument::is_recovery,
    Export(ExportDocument) if ExportDocument::is_sound,
    Hold(HoldDocument) if always,
    Retention(RetentionDocument) if RetentionDocument::is_sound,
    Erase(EraseDocument) if EraseDocument::is_sound,
    Erased(ErasedDocument) if always,
    Tenant(TenantDocument) if always,
    Grant(GrantDocument) if always,
    Config(ConfigDocument) if always,
    Admin(AdminDocument) if always,
    BodyLost(BodyLostDocument) if always,
    Month(MonthDocument) if MonthDocument::is_sound,
    Waiver(WaiverDocument) if always,
}
