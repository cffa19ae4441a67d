//! Bytes that are nearly others. By seed, and the same for ever.

/// SplitMix64: chance that is good enough here, and does not change with the versions of a library.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

/// What stands at the borders of numbers, lengths and texts.
const BORDERS: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, 22, 32, b'.', b'/', b'=', b'\n', b'A'];

const CHANGES_MAX: usize = 4;
const LENGTH_MAX: usize = 8 * 1024;

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        if self.next() & 1 > 0 { BORDERS[self.below(BORDERS.len())] } else { self.next().to_be_bytes()[0] }
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(length + 1), self.below(length + 1));
        one.min(other)..one.max(other)
    }

    /// One of these, with some changes.
    pub(crate) fn nearly(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(LENGTH_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let kind = self.below(7);
        if bytes.is_empty() || kind == 0 {
            let (at, byte) = (self.below(bytes.len() + 1), self.byte());
            return bytes.insert(at, byte);
        }
        let at = self.below(bytes.len());
        match kind {
            1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = self.byte(),
            3 => drop(bytes.drain(self.range(bytes.len()))),
            4 => {
                let again = bytes[self.range(bytes.len())].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let other = &inputs[self.below(inputs.len())];
                let part = other[self.range(other.len())].to_vec();
                drop(bytes.splice(at.., part));
            }
            _ => {
                let other = self.below(bytes.len());
                bytes.swap(at, other);
            }
        }
    }
}
