//! Enums of the formats: each member has a code in bytes and a name in words.
//!
//! Promises: code and name stand once, beside the member; a code that no member has is
//! read as `None`. Leaves enums that carry data to the files of their own.

/// Writes such an enum, with `ALL`, `from_code`, `name` and `Display`.
macro_rules! coded {
    ($(#[$about:meta])* pub enum $type:ident {
        $($(#[$member_about:meta])* $member:ident = $code:literal $name:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $type {
            $($(#[$member_about])* $member = $code,)+
        }

        impl $type {
            /// Every member, in the order of the codes.
            pub const ALL: [$type; [$($code),+].len()] = [$($type::$member),+];

            pub fn from_code(code: u8) -> Option<$type> {
                match code {
                    $($code => Some($type::$member),)+
                    _ => None,
                }
            }

            /// As it stands in reports, metrics and documents. Never changed.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$member => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use coded;
