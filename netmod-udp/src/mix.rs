//! A bit mixer for jitter and table keys, where an attacker gains nothing from predicting the result.

/// Maps neighbouring numbers to values that differ in all 64 bits. The map is a bijection, so distinct inputs never
/// collide. It is the finaliser of SplitMix64 (Steele et al. 2014).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
