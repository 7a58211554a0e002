//! The canonical byte codec: big-endian, length-prefixed, one encoding for one value.
//!
//! Promises: decoding refuses whatever encoding would not produce (trailing bytes,
//! unknown tags, text that is not UTF-8, a flag other than 0 or 1), and never
//! allocates more than the input is long. Leaves versions to the types that use it.

use crate::digest::Digest;
use std::fmt;

/// Why bytes could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Offset of the byte at which reading stopped.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: expected {}", self.offset, self.expected)
    }
}

impl std::error::Error for DecodeError {}

/// Appends values to a byte string.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Two's complement.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes of a length that the format fixes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.raw(&digest.0)
    }

    /// u32 length, then the bytes.
    ///
    /// # Panics
    /// On 4 GiB or more: every caller has a limit far below.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u32::try_from(bytes.len()).expect("byte strings are bounded below 4 GiB");
        self.u32(length).raw(bytes)
    }

    /// u32 length, then UTF-8.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// u32 count, then each item.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        let count = u32::try_from(items.len()).expect("lists are bounded below 2^32");
        self.u32(count);
        for item in items {
            write(self, item);
        }
        self
    }

    /// 0, or 1 and the value.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) -> &mut Self {
        match value {
            None => {
                self.u8(0);
            }
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
        self
    }
}

/// Takes values off a byte string, front to back.
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0 }
    }

    /// An error at the present position.
    pub fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError {
            offset: self.offset,
            expected,
        }
    }

    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        if self.bytes.len() - self.offset < length {
            return Err(self.error("more bytes"));
        }
        let taken = &self.bytes[self.offset..self.offset + length];
        self.offset += length;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(N)?);
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// 0 or 1.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error("0 or 1")),
        }
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn digest(&mut self) -> Result<Digest, DecodeError> {
        Ok(Digest(self.array()?))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        self.raw(length)
    }

    pub fn text(&mut self) -> Result<String, DecodeError> {
        let start = self.offset;
        let bytes = self.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError {
                offset: start,
                expected: "UTF-8 text",
            }),
        }
    }

    pub fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32()?;
        // No reservation by the announced count: it is not to be trusted.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(read(self)?)),
            _ => Err(self.error("0 or 1 before an optional value")),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.offset == self.bytes.len()
    }

    /// Ends the reading: nothing may be left.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error("the end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let mut writer = Writer::new();
        writer.u8(7).u16(8).u32(9).u64(10).i64(-11).text("zwölf");
        writer.list(&[1u8, 2], |w, b| {
            w.u8(*b);
        });
        writer.option(Some(&5u64), |w, v| {
            w.u64(*v);
        });
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u16(), Ok(8));
        assert_eq!(reader.u32(), Ok(9));
        assert_eq!(reader.u64(), Ok(10));
        assert_eq!(reader.i64(), Ok(-11));
        assert_eq!(reader.text().as_deref(), Ok("zwölf"));
        assert_eq!(reader.list(Reader::u8), Ok(vec![1, 2]));
        assert_eq!(reader.option(Reader::u64), Ok(Some(5)));
        assert_eq!(reader.end(), Ok(()));
        assert!(Reader::new(&[2]).option(Reader::u8).is_err());
        assert!(Reader::new(&[0, 0, 0, 1, 0xff]).text().is_err());
        assert!(Reader::new(&[0xff; 4]).list(Reader::u8).is_err());
        assert!(Reader::new(&[0]).end().is_err());
    }
}
