//! A value tree that writes itself as JSON (RFC 8259).
//!
//! Promises: the output is one line of valid JSON, members in the order given. Leaves
//! reading JSON to others; no serialiser is needed.

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{
    LogIndex, NodeId, OutboxId, RecordIndex, Sequence, Term, TreeSize, UploadEpoch,
};
use std::fmt;

/// What a report is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(i128),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
        Value::Object(members.map(|(name, v)| (name.to_owned(), v)).into())
    }

    pub fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Number(value.into())
    }
}

macro_rules! plain_numbers {
    ($($type:ty),+) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                value.get().into()
            }
        }
    )+};
}

plain_numbers!(
    NodeId,
    RecordIndex,
    TreeSize,
    Sequence,
    OutboxId,
    UploadEpoch,
    LogIndex,
    Term
);

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Number(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<Digest> for Value {
    fn from(value: Digest) -> Value {
        Value::Text(value.to_hex())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Text(text) => write_text(f, text),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Value::Object(members) => {
                f.write_str("{")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            // All controls, so that no terminal acts on what a record says.
            c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_order_is_kept() {
        let value = Value::object([
            ("b", Value::list([1u64, 2])),
            ("a", "say \"hi\"\n\\\u{85}é".into()),
            ("n", Value::from(None::<u64>)),
            ("t", true.into()),
            ("m", (-5i64).into()),
        ]);
        assert_eq!(
            value.to_string(),
            "{\"b\":[1,2],\"a\":\"say \\\"hi\\\"\\u000a\\\\\\u0085é\",\"n\":null,\"t\":true,\"m\":-5}"
        );
    }
}
