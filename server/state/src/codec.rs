//! How records are written into bytes and read back.
//!
//! A record begins with one byte that names its format. Numbers are little-endian base 128 (seven
//! bits per byte, the high bit says that more follow); byte strings carry their length in front.
//!
//! The state's records are written by this crate alone. One that cannot be read means that the
//! store is damaged or was written by a later version: the node must stop, and [`damaged`] is the
//! one place where it does.

use bytes::Bytes;

/// Stops the node: a stored record cannot be understood.
///
/// # Panics
/// Always. Guessing would let this replica drift away from the others.
pub fn damaged(record: &'static str, what: impl std::fmt::Display) -> ! {
    panic!(
        "stored state is damaged: {record}: {what}. Stop this node, remove its data directory and \
         let it fetch a snapshot from the others"
    );
}

/// Collects the bytes of one record.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A record of this format, with room for `capacity` further bytes. An exact capacity saves an
    /// allocation.
    pub fn new(format: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + 1);
        bytes.push(format);
        Self { bytes }
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// A yes or no, as one byte.
    pub fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    /// A number in one to ten bytes.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// A signed number; small absolute values are short.
    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    /// Sixteen bytes, little endian.
    pub fn wide(&mut self, number: u128) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// A byte string with its length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// A text with its length.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A byte string without a length: only as a record's last or fixed-size field.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether not even the format's byte was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The record.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

/// Bytes that a number takes. A record whose size is known beforehand is allocated once.
pub fn number_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Takes a record apart. Byte strings share the record's memory.
///
/// Every method panics through [`damaged`] when the record does not hold what is asked for.
#[derive(Debug)]
pub struct Reader<'a> {
    name: &'static str,
    record: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a record that must be of this format. `name` is used in the complaint only.
    pub fn new(name: &'static str, format: u8, record: &'a Bytes) -> Self {
        let mut reader = Self { name, record, at: 0 };
        let found = reader.byte();
        if found != format {
            damaged(name, format_args!("format {found} instead of {format}"));
        }
        reader
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some(byte) = self.record.get(self.at) else { self.complain("ends too early") };
        self.at += 1;
        *byte
    }

    /// A yes or no.
    pub fn flag(&mut self) -> bool {
        match self.byte() {
            0 => false,
            1 => true,
            _ => self.complain("a flag is neither 0 nor 1"),
        }
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                self.complain("a number has more than 64 bits");
            }
            number |= bits << shift;
            if byte < 0x80 {
                return number;
            }
        }
        self.complain("a number has no end")
    }

    /// A number of 32 bits.
    pub fn number32(&mut self) -> u32 {
        match u32::try_from(self.number()) {
            Ok(number) => number,
            Err(_) => self.complain("a number has more than 32 bits"),
        }
    }

    /// A signed number.
    pub fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    /// Sixteen bytes.
    pub fn wide(&mut self) -> u128 {
        u128::from_le_bytes(self.array())
    }

    /// A fixed number of bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some(bytes) = self.record[self.at..].first_chunk::<N>() else { self.complain("ends too early") };
        self.at += N;
        *bytes
    }

    /// A byte string with its length.
    pub fn bytes(&mut self) -> Bytes {
        let length = self.number();
        if length > (self.record.len() - self.at) as u64 {
            self.complain("a byte string is longer than the record");
        }
        let start = self.at;
        self.at += length as usize;
        self.record.slice(start..self.at)
    }

    /// A text with its length.
    pub fn text(&mut self) -> String {
        match String::from_utf8(self.bytes().to_vec()) {
            Ok(text) => text,
            Err(_) => self.complain("a text is not UTF-8"),
        }
    }

    /// Everything that is left, as a text.
    pub fn rest_of_text(&mut self) -> String {
        match String::from_utf8(self.rest().to_vec()) {
            Ok(text) => text,
            Err(_) => self.complain("a text is not UTF-8"),
        }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.record.slice(self.at..);
        self.at = self.record.len();
        rest
    }

    /// Asserts that nothing is left.
    pub fn end(&self) {
        if self.at != self.record.len() {
            self.complain("is longer than expected");
        }
    }

    /// Stops the node: this record makes no sense.
    pub fn complain(&self, what: &str) -> ! {
        damaged(self.name, format_args!("{what} (at byte {} of {})", self.at, self.record.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::new(7, 0);
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        numbers.iter().for_each(|number| writer.number(*number));
        signed.iter().for_each(|number| writer.signed(*number));
        writer.wide(u128::MAX - 5);
        writer.text("name");
        writer.flag(true);
        writer.bytes(b"");
        writer.raw(b"rest");
        let record = writer.finish();
        let mut reader = Reader::new("test", 7, &record);
        for number in numbers {
            let before = reader.at;
            assert_eq!(reader.number(), number);
            assert_eq!(reader.at - before, number_bytes(number));
        }
        signed.iter().for_each(|number| assert_eq!(reader.signed(), *number));
        assert_eq!(reader.wide(), u128::MAX - 5);
        assert_eq!(reader.text(), "name");
        assert!(reader.flag());
        assert_eq!(reader.bytes(), Bytes::new());
        assert_eq!(reader.rest(), Bytes::from_static(b"rest"));
        reader.end();
    }

    #[test]
    #[should_panic(expected = "stored state is damaged: test: ends too early (at byte 1 of 1)")]
    fn a_short_record_stops_the_node() {
        let record = Bytes::from_static(&[1]);
        Reader::new("test", 1, &record).number();
    }

    #[test]
    #[should_panic(expected = "format 2 instead of 1")]
    fn a_later_format_stops_the_node() {
        Reader::new("test", 1, &Bytes::from_static(&[2]));
    }

    #[test]
    #[should_panic(expected = "longer than the record")]
    fn a_length_beyond_the_record_stops_the_node() {
        Reader::new("test", 1, &Bytes::from_static(&[1, 200, 1])).bytes();
    }
}
