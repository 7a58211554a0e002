//! Tile paths of C2SP tlog-tiles: pure arithmetic.
//!
//! Promises that exactly the canonical spelling is understood.

use crate::domain::ids::TreeSize;
use muniment_evidence::tree::TILE_WIDTH;

/// Which tile, and how many of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// `None` for a bundle of entries.
    pub level: Option<u8>,
    pub number: u64,
    /// 256 for a full tile.
    pub width: u64,
}

impl Tile {
    /// `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`.
    pub fn parse(path: &str) -> Option<Tile> {
        let (level, rest) = path.split_once('/')?;
        let level = match level {
            "entries" => None,
            digits => Some(number(digits, 2).filter(|level| *level < 64)? as u8),
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((index, width)) => {
                let width = number(width, 3)?;
                (index, Some(width).filter(|w| (1..TILE_WIDTH).contains(w))?)
            }
        };
        Some(Tile {
            level,
            number: parse_index(index)?,
            width,
        })
    }

    /// Index of the first row or record.
    pub fn first(&self) -> Option<u64> {
        self.number.checked_mul(TILE_WIDTH)
    }

    /// Whether a tree of `size` has the tile at this width.
    pub fn is_within(&self, size: TreeSize) -> bool {
        let span = 8 * u32::from(self.level.unwrap_or(0));
        let rows = size.get().checked_shr(span).unwrap_or(0);
        self.first()
            .and_then(|first| first.checked_add(self.width))
            .is_some_and(|end| end <= rows)
    }
}

/// Decimal without leading zeros, of at most `digits` digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (text.len() <= digits && number.to_string() == text).then_some(number)
}

/// Three-digit groups, all but the last led by `x`: `x001/x234/067`.
fn parse_index(text: &str) -> Option<u64> {
    let mut groups = text.split('/').peekable();
    let (mut index, mut first) = (0u64, true);
    while let Some(group) = groups.next() {
        let digits = match groups.peek() {
            Some(_) => group.strip_prefix('x')?,
            None => group,
        };
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value: u64 = digits.parse().ok()?;
        if first && value == 0 && groups.peek().is_some() {
            return None;
        }
        first = false;
        index = index.checked_mul(1000)?.checked_add(value)?;
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_paths_are_understood_and_others_are_not() {
        let tile = |level, number, width| {
            Some(Tile {
                level,
                number,
                width,
            })
        };
        assert_eq!(
            Tile::parse("0/x001/x234/067"),
            tile(Some(0), 1_234_067, 256)
        );
        assert_eq!(Tile::parse("entries/000.p/15"), tile(None, 0, 15));
        assert_eq!(Tile::parse("2/000.p/255"), tile(Some(2), 0, 255));
        for bad in [
            "0",
            "0/",
            "0/0",
            "00/000",
            "64/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "entries/abc",
            "x/000",
            "0/000/",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
    }

    /// The example of the specification: 70,000 entries.
    #[test]
    fn a_tree_has_the_tiles_that_its_size_allows() {
        let has = |path: &str| Tile::parse(path).unwrap().is_within(TreeSize::new(70_000));
        assert!(has("0/272") && has("0/273.p/112") && !has("0/273.p/113"));
        assert!(has("1/000") && has("1/001.p/17") && !has("1/001.p/18"));
        assert!(has("2/000.p/1") && !has("2/000.p/2") && !has("3/000.p/1"));
    }
}
