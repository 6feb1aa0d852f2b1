//! Maps of sparse files in tar: which pieces of the file the archive holds.
//! Standard: GNU tar's manual, "Sparse Formats" (old GNU, PAX 0.0, 0.1 and 1.0).
use crate::number;

/// (offset, length) of each piece, ascending.
pub(crate) type Map = Vec<(u64, u64)>;

/// Most pieces of one file.
const MAX_PIECES: usize = 1 << 20;

/// Pieces ascend, do not overlap, lie within the file, and are together what the archive holds.
pub(crate) fn check(map: &Map, size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0u64;
    let mut sum = 0u64;
    for (offset, len) in map {
        if *offset < end {
            return Err("sparse map is not in order");
        }
        end = offset.checked_add(*len).filter(|end| *end <= size).ok_or("sparse map exceeds the file")?;
        sum += len;
    }
    if sum == stored { Ok(()) } else { Err("sparse map does not match the data") }
}

/// Adds pieces of the old GNU format: 12 bytes of offset, 12 of length; an empty one ends the list. Gives whether all were
/// filled, so that the list may go on.
pub(crate) fn add_pairs(map: &mut Map, bytes: &[u8]) -> Result<bool, &'static str> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            return Ok(false);
        }
        let value = |field| number::parse(field).and_then(|n| u64::try_from(n).ok());
        let (Some(offset), Some(len)) = (value(&pair[..12]), value(&pair[12..])) else {
            return Err("malformed sparse map");
        };
        push(map, offset, len)?;
    }
    Ok(true)
}

pub(crate) fn push(map: &mut Map, offset: u64, len: u64) -> Result<(), &'static str> {
    if map.len() >= MAX_PIECES {
        return Err("sparse map is too long");
    }
    map.push((offset, len));
    Ok(())
}

/// `offset,length,offset,length...` of PAX 0.1.
pub(crate) fn parse_list(text: &[u8]) -> Result<Map, &'static str> {
    let mut map = Map::new();
    if text.is_empty() {
        return Ok(map);
    }
    let numbers: Option<Vec<u64>> = text.split(|b| *b == b',').map(number::parse_decimal).collect();
    let numbers = numbers.filter(|n| n.len() % 2 == 0).ok_or("malformed sparse map")?;
    for pair in numbers.chunks_exact(2) {
        push(&mut map, pair[0], pair[1])?;
    }
    Ok(map)
}

/// Decimal lines of PAX 1.0: the number of pieces, then offset and length of each.
#[derive(Default)]
pub(crate) struct Numbers {
    line: Vec<u8>,
    count: Option<u64>,
    values: Vec<u64>,
}

impl Numbers {
    pub(crate) fn push(&mut self, byte: u8) -> Result<(), &'static str> {
        if byte != b'\n' {
            self.line.push(byte);
            return if self.line.len() > 20 { Err("malformed sparse map") } else { Ok(()) };
        }
        let value = number::parse_decimal(&self.line).ok_or("malformed sparse map")?;
        self.line.clear();
        match self.count {
            Some(_) => self.values.push(value),
            None if value > MAX_PIECES as u64 => return Err("sparse map is too long"),
            None => self.count = Some(value),
        }
        Ok(())
    }
    pub(crate) fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.values.len() as u64 == count * 2)
    }
    pub(crate) fn into_map(self) -> Result<Map, &'static str> {
        let mut map = Map::new();
        for pair in self.values.chunks_exact(2) {
            push(&mut map, pair[0], pair[1])?;
        }
        Ok(map)
    }
}
