//! Random moments, which a seed repeats.

/// The state of a generator (splitmix64, Steele, Lea and Flood).
pub(crate) struct Moments(pub(crate) u64);

impl Moments {
    /// A number from 0 on and below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % bound
    }
}
