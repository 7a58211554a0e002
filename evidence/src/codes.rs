//! Enums of the formats: each member has a code in bytes and a name in words.
//!
//! Promises: code and name stand once, beside the member; a code that no member has is
//! read as `None`, or as a later one where the enum has room for those. Leaves enums that carry
//! data to the files of their own.

/// Writes such an enum, with `ALL`, `from_code`, `code`, `name` and `Display`. With `..Later` at
/// the end, codes above the last are members of that name.
macro_rules! coded {
    ($(#[$about:meta])* pub enum $type:ident {
        $($(#[$member_about:meta])* $member:ident = $code:literal $name:literal,)+
        ..$later:ident $later_name:literal
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type {
            $($(#[$member_about])* $member,)+
            /// A code above those known: of a later version.
            $later(u8),
        }

        impl $type {
            /// Every member that is known, in the order of the codes.
            pub const ALL: [$type; [$($code),+].len()] = [$($type::$member),+];

            /// `None` of 0 alone: the codes that are known are all from 1 on.
            pub fn from_code(code: u8) -> Option<$type> {
                match code {
                    0 => None,
                    $($code => Some($type::$member),)+
                    later => Some($type::$later(later)),
                }
            }

            pub fn code(self) -> u8 {
                match self {
                    $($type::$member => $code,)+
                    $type::$later(code) => code,
                }
            }

            /// As it stands in reports, metrics and documents. Never changed.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$member => $name,)+
                    $type::$later(_) => $later_name,
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $type::$later(code) => write!(f, "{}({code})", self.name()),
                    _ => f.write_str(self.name()),
                }
            }
        }
    };
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
