//! XXH3 (64 bit, seed 0) of payload blocks: twox-hash's, and an AVX-512 form of the same function.
//!
//! Every payload byte passes here twice in its life, so on a fast medium this is the largest cost of the library's own.
//! twox-hash uses AVX2 at most; 512-bit registers go through a block in the cache 1.7 times as fast (89 beside 53 GB/s).
//! The function is the same to the last bit (the specification: xxHash, `doc/xxhash_spec.md`), which the tests compare.

use twox_hash::xxhash3_64::Hasher;

/// XXH3 (64 bit) of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() > avx512::BYTES_ABOVE && avx512::is_worth_it() {
        // SAFETY: `is_worth_it` found AVX-512F.
        return unsafe { avx512::checksum(bytes) };
    }
    Hasher::oneshot(bytes)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _MM_PERM_BADC, _mm512_add_epi64, _mm512_loadu_si512, _mm512_mul_epu32, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_shuffle_epi32, _mm512_slli_epi64, _mm512_srli_epi64,
        _mm512_storeu_si512, _mm512_xor_si512,
    };

    use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};

    /// Inputs up to this length have another form, which is not here.
    pub const BYTES_ABOVE: usize = 240;

    const SECRET_BYTES: usize = 192;
    const STRIPE_BYTES: usize = 64;
    /// Bytes by which the secret moves on from stripe to stripe.
    const SECRET_STEP: usize = 8;
    const STRIPES_PER_BLOCK: usize = (SECRET_BYTES - STRIPE_BYTES) / SECRET_STEP;
    const BLOCK_BYTES: usize = STRIPE_BYTES * STRIPES_PER_BLOCK;
    /// Where in the secret the last stripe and the merge begin.
    const SECRET_LAST: usize = SECRET_BYTES - STRIPE_BYTES - 7;
    const SECRET_MERGE: usize = 11;

    const PRIME32_1: u64 = 0x9E37_79B1;
    const PRIME32_2: u64 = 0x85EB_CA77;
    const PRIME32_3: u64 = 0xC2B2_AE3D;
    const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
    const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
    const PRIME64_3: u64 = 0x1656_67B1_9E37_79F9;
    const PRIME64_4: u64 = 0x85EB_CA77_C2B2_AE63;
    const PRIME64_5: u64 = 0x27D4_EB2F_1656_67C5;
    const PRIME_AVALANCHE: u64 = 0x1656_6791_9E37_79F9;
    const ACCUMULATORS: [u64; 8] =
        [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];

    /// Whether this processor has AVX-512 in a generation (VBMI2: Ice Lake, Zen 4) that does not slow down for it.
    pub fn is_worth_it() -> bool {
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vbmi2")
    }

    /// XXH3 of more than [`BYTES_ABOVE`] bytes.
    #[target_feature(enable = "avx512f")]
    pub fn checksum(bytes: &[u8]) -> u64 {
        assert!(bytes.len() > BYTES_ABOVE);
        let secret: &[u8; SECRET_BYTES] = RawHasher::new(SecretBuffer::default()).into_secret();
        // SAFETY: 64 bytes are read from an array of that size.
        let mut sums = unsafe { _mm512_loadu_si512(ACCUMULATORS.as_ptr().cast()) };
        let scramble_key = load(secret, SECRET_BYTES - STRIPE_BYTES);
        // The last stripe is taken from the end, so the blocks and stripes before it leave at least a byte.
        let (blocks, rest) = bytes[..bytes.len() - 1].as_chunks::<BLOCK_BYTES>();
        // In registers: most of them cross a line of the cache, which costs as much as the arithmetic.
        let keys: [__m512i; STRIPES_PER_BLOCK] =
            std::array::from_fn(|stripe| load(secret, stripe * SECRET_STEP));
        for block in blocks {
            // Two sums, as additions in one would wait for each other: the compiler takes them in whatever order it likes.
            let mut swapped = _mm512_setzero_si512();
            for (stripe, &key) in keys.iter().enumerate() {
                let data = load(block, stripe * STRIPE_BYTES);
                sums = _mm512_add_epi64(sums, product(data, key));
                swapped = _mm512_add_epi64(swapped, _mm512_shuffle_epi32::<_MM_PERM_BADC>(data));
            }
            sums = scramble(_mm512_add_epi64(sums, swapped), scramble_key);
        }
        for stripe in 0..rest.len() / STRIPE_BYTES {
            sums = accumulate(sums, load(rest, stripe * STRIPE_BYTES), load(secret, stripe * SECRET_STEP));
        }
        let last = load(bytes, bytes.len() - STRIPE_BYTES);
        sums = accumulate(sums, last, load(secret, SECRET_LAST));
        merge(sums, secret, (bytes.len() as u64).wrapping_mul(PRIME64_1))
    }

    /// The 64 bytes of `from` at `offset`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(from: &[u8], offset: usize) -> __m512i {
        let stripe = &from[offset..offset + STRIPE_BYTES];
        // SAFETY: 64 bytes are read from a slice of that size; no alignment is asked for.
        unsafe { _mm512_loadu_si512(stripe.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn product(data: __m512i, key: __m512i) -> __m512i {
        let keyed = _mm512_xor_si512(data, key);
        _mm512_mul_epu32(keyed, _mm512_srli_epi64::<32>(keyed))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn accumulate(sums: __m512i, data: __m512i, key: __m512i) -> __m512i {
        let swapped = _mm512_shuffle_epi32::<_MM_PERM_BADC>(data);
        _mm512_add_epi64(sums, _mm512_add_epi64(product(data, key), swapped))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn scramble(sums: __m512i, key: __m512i) -> __m512i {
        let prime = _mm512_set1_epi64(PRIME32_1 as i64);
        let mixed = _mm512_xor_si512(_mm512_xor_si512(sums, _mm512_srli_epi64::<47>(sums)), key);
        let low = _mm512_mul_epu32(mixed, prime);
        let high = _mm512_mul_epu32(_mm512_srli_epi64::<32>(mixed), prime);
        _mm512_add_epi64(low, _mm512_slli_epi64::<32>(high))
    }

    #[target_feature(enable = "avx512f")]
    fn merge(sums: __m512i, secret: &[u8; SECRET_BYTES], start: u64) -> u64 {
        let mut lanes = [0u64; 8];
        // SAFETY: 64 bytes are written to an array of that size.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sums) };
        let (keys, _) = secret[SECRET_MERGE..].as_chunks::<8>();
        let mixed = lanes.as_chunks::<2>().0.iter().zip(keys.as_chunks::<2>().0).map(|(lanes, keys)| {
            let left = u128::from(lanes[0] ^ u64::from_le_bytes(keys[0]));
            let product = left * u128::from(lanes[1] ^ u64::from_le_bytes(keys[1]));
            product as u64 ^ (product >> 64) as u64
        });
        let merged = mixed.fold(start, u64::wrapping_add);
        let merged = (merged ^ (merged >> 37)).wrapping_mul(PRIME_AVALANCHE);
        merged ^ (merged >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever this processor has, a checksum is XXH3's: what one machine wrote another one has to verify.
    #[test]
    fn the_checksum_is_xxh3_of_every_length() {
        let mut state = 1u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(70_000)
        .collect();
        let lengths = (0..5000).chain([65_535, 65_536, 65_537, 69_000]);
        for length in lengths {
            let offset = length % 67;
            let part = &bytes[offset..offset + length];
            assert_eq!(checksum(part), Hasher::oneshot(part), "{length} bytes");
        }
    }
}
