//! Bytes that say where they come from, made again wherever they are compared.

/// A generator of numbers that are the same in every run (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let last = self.next().to_le_bytes();
        let rest = words.into_remainder();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// The bytes of an object, different for every seed from the first bytes on.
pub fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Random::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ length as u64).fill(&mut bytes);
    bytes
}

/// Asserts that two long strings of bytes are equal, telling where they differ instead of printing them.
#[track_caller]
pub fn assert_same(found: &[u8], wanted: &[u8], what: &dyn std::fmt::Display) {
    if found == wanted {
        return;
    }
    let at = found.iter().zip(wanted).position(|(a, b)| a != b);
    panic!(
        "{what}: {} bytes, wanted {}; first difference at {at:?}, {} bytes differ",
        found.len(),
        wanted.len(),
        found.iter().zip(wanted).filter(|(a, b)| a != b).count()
    );
}
