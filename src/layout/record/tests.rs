//! The trailer keeps what it is given, and nothing else passes for one.

use super::*;

/// A small generator with a fixed seed: every run sees the same cases.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn encoded(identity: &Identity<'_>, blocks: &[u64], extra_pages: usize) -> Vec<u8> {
    let length =
        trailer_bytes(padded(identity.payload_bytes).unwrap()).unwrap() as usize + 4096 * extra_pages;
    // Filled with garbage: encode must leave none of it.
    let mut out = vec![0xa5; length];
    encode(&mut out, identity, blocks).unwrap();
    out
}

fn sample() -> Vec<u8> {
    let key = EffectiveKey::new(b"space", b"key").unwrap();
    let identity = Identity { pool_id: 7, slot: 3, generation: 9, payload_bytes: 100_000, key: key.bytes() };
    encoded(&identity, &[11, 12], 0)
}

/// Recomputes the checksum, as somebody would who forges a trailer.
fn reseal(trailer: &mut [u8]) {
    let sum = checksum_with_hole(trailer, CHECKSUM_OFFSET).unwrap();
    trailer[8..16].copy_from_slice(&sum.to_le_bytes());
}

/// Whatever is written is read back, for any key, size and trailer length: restart depends on it.
#[test]
fn a_trailer_survives_the_round_trip() {
    let mut random = Random(1);
    for _ in 0..2_000 {
        let namespace_bytes = random.below(256) as usize;
        let key_bytes = 1 + random.below(1024) as usize;
        let (namespace, name) = (random.bytes(namespace_bytes), random.bytes(key_bytes));
        let key = EffectiveKey::new(&namespace, &name).unwrap();
        let payload_bytes = 1 + random.below(64 << 20);
        let blocks: Vec<u64> = (0..block_count(payload_bytes).unwrap()).map(|_| random.next()).collect();
        let identity = Identity {
            pool_id: u128::from(random.next()) << 64 | u128::from(random.next()),
            slot: random.next(),
            generation: random.next(),
            payload_bytes,
            key: key.bytes(),
        };
        let bytes = encoded(&identity, &blocks, random.below(3) as usize);
        let trailer = decode(&bytes).unwrap();
        assert_eq!(trailer.identity(), identity);
        assert_eq!(trailer.block_count(), blocks.len());
        for (index, checksum) in blocks.iter().enumerate() {
            assert_eq!(trailer.block_checksum(index), Some(*checksum));
        }
        assert_eq!(trailer.block_checksum(blocks.len()), None);
        assert_eq!(trailer.block_checksum(usize::MAX), None);
    }
}

/// The bytes on storage are a promise to other versions and other machines; these were computed
/// from the documented table, not from the code.
#[test]
fn the_bytes_are_where_the_format_says() {
    let bytes = sample();
    assert_eq!(bytes.len(), 4096);
    assert_eq!(&bytes[0..8], b"NXLSREC1");
    assert_eq!(bytes[16..20], 1u32.to_le_bytes());
    assert_eq!(bytes[20..24], 4096u32.to_le_bytes());
    assert_eq!(bytes[24..40], 7u128.to_le_bytes());
    assert_eq!(bytes[40..48], 3u64.to_le_bytes());
    assert_eq!(bytes[48..56], 9u64.to_le_bytes());
    assert_eq!(bytes[56..64], 100_000u64.to_le_bytes());
    assert_eq!(bytes[64..68], 65_536u32.to_le_bytes());
    assert_eq!(bytes[68..72], 2u32.to_le_bytes());
    assert_eq!(bytes[72..76], 9u32.to_le_bytes());
    assert!(bytes[76..256].iter().all(|byte| *byte == 0));
    assert_eq!(&bytes[256..265], b"\x05spacekey");
    assert!(bytes[265..1792].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[1792..1800], 11u64.to_le_bytes());
    assert_eq!(bytes[1800..1808], 12u64.to_le_bytes());
    assert!(bytes[1808..].iter().all(|byte| *byte == 0));
    let mut unsealed = bytes.clone();
    unsealed[8..16].fill(0);
    assert_eq!(bytes[8..16], twox_hash::XxHash3_64::oneshot(&unsealed).to_le_bytes());
}

/// A record with any changed byte, even in its padding, is not served: the right bytes or a miss.
#[test]
fn every_flipped_byte_is_refused() {
    let good = sample();
    let mut bytes = good.clone();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            assert!(decode(&bytes).is_err(), "byte {at} xor {flip:#x} passed");
            bytes[at] ^= flip;
        }
    }
    assert!(decode(&good).is_ok());
}

/// A torn read or a short file gives part of a trailer; no part passes for the whole.
#[test]
fn every_truncation_is_refused() {
    let bytes = sample();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err());
    }
    let mut longer = bytes.clone();
    longer.resize(8192, 0);
    assert!(decode(&longer).is_err());
}

/// Random bytes, with and without a proper magic and checksum, are refused without a panic.
#[test]
fn random_bytes_never_pass_and_never_panic() {
    let mut random = Random(2);
    for round in 0..2_000 {
        let length = match round % 4 {
            0 => random.below(64),
            1 => random.below(5_000),
            _ => 4096 * (1 + random.below(3)),
        };
        let mut bytes = random.bytes(length as usize);
        assert!(decode(&bytes).is_err());
        if bytes.len() >= 24 {
            bytes[..8].copy_from_slice(&MAGIC);
            assert!(decode(&bytes).is_err());
            bytes[16..20].copy_from_slice(&1u32.to_le_bytes());
            let total = bytes.len() as u32;
            bytes[20..24].copy_from_slice(&total.to_le_bytes());
            reseal(&mut bytes);
            assert!(decode(&bytes).is_err());
        }
    }
}

/// A checksum is no signature: a forged trailer with a proper one is still refused for each field
/// that would send a reader out of bounds.
#[test]
fn forged_fields_are_refused_one_by_one() {
    type Forge = (std::ops::Range<usize>, u64, Invalid);
    let cases: [Forge; 13] = [
        (16..20, 2, Invalid::Version(2)),
        (20..24, 8192, Invalid::Bounds("trailer_bytes")),
        (56..64, 0, Invalid::Bounds("payload_bytes")),
        (56..64, u64::MAX, Invalid::Bounds("payload_bytes")),
        (56..64, 1 << 40, Invalid::Bounds("payload_bytes")),
        (56..64, 65_536, Invalid::Bounds("checksum_block_count")),
        (64..68, 4096, Invalid::Bounds("checksum_block_bytes")),
        (68..72, 3, Invalid::Bounds("checksum_block_count")),
        (68..72, u64::from(u32::MAX), Invalid::Bounds("checksum_block_count")),
        (72..76, u64::from(u32::MAX), Invalid::Bounds("key")),
        (72..76, 0, Invalid::Bounds("key")),
        (72..76, 6, Invalid::Bounds("key")),
        (76..80, 1, Invalid::Bounds("flags")),
    ];
    for (field, value, expected) in cases {
        let mut bytes = sample();
        let length = field.len();
        bytes[field.clone()].copy_from_slice(&value.to_le_bytes()[..length]);
        reseal(&mut bytes);
        assert_eq!(decode(&bytes).map(|_| ()), Err(expected), "field at {field:?}");
    }
}

/// A tombstone and a slot that was never written look alike, and are told from damage.
#[test]
fn a_tombstone_is_absent_not_damaged() {
    let mut bytes = sample();
    assert_eq!(decode(&vec![0; 8192]).map(|_| ()), Err(Invalid::Absent));
    bytes[..TOMBSTONE_BYTES].fill(0);
    assert_eq!(decode(&bytes).map(|_| ()), Err(Invalid::Absent));
    let mut damaged = sample();
    damaged[100] ^= 1;
    assert_eq!(decode(&damaged).map(|_| ()), Err(Invalid::Checksum));
    assert_eq!(decode(&[1; 4096]).map(|_| ()), Err(Invalid::Magic));
}

/// A caller that hands encode pieces which do not fit gets an error and no half-right trailer.
#[test]
fn misfitting_pieces_are_not_encoded() {
    let key = EffectiveKey::new(b"", b"k").unwrap();
    let identity =
        Identity { pool_id: 0, slot: NO_SLOT, generation: 1, payload_bytes: 65_537, key: key.bytes() };
    let mut page = vec![0; 4096];
    assert!(encode(&mut page, &identity, &[1, 2]).is_ok());
    assert!(encode(&mut page, &identity, &[1]).is_err());
    assert!(encode(&mut page, &identity, &[1, 2, 3]).is_err());
    assert!(encode(&mut page[..4095], &identity, &[1, 2]).is_err());
    assert!(encode(&mut [], &identity, &[1, 2]).is_err());
    assert!(encode(&mut vec![0; 6144], &identity, &[1, 2]).is_err());
    assert!(encode(&mut page, &Identity { payload_bytes: 0, ..identity }, &[]).is_err());
    assert!(encode(&mut page, &Identity { payload_bytes: u64::MAX, ..identity }, &[1, 2]).is_err());
    assert!(encode(&mut page, &Identity { key: b"", ..identity }, &[1, 2]).is_err());
    assert!(encode(&mut page, &Identity { key: &[0; 1026], ..identity }, &[1, 2]).is_err());
}

/// Files are told apart by their length alone, so lengths must map to exactly one record shape.
#[test]
fn a_file_length_has_one_meaning() {
    let mut random = Random(3);
    let samples = (1..5_000).chain((0..5_000).map(|_| 1 + random.below(1 << 32))).collect::<Vec<_>>();
    for pages in samples {
        let payload = pages * 4096;
        let Some(trailer) = trailer_bytes(payload) else { continue };
        assert_eq!(split_file(payload + trailer), Some((payload, trailer)));
    }
    // 288 checksums fill the first page of a trailer; one more block takes another page, which leaves a length between.
    let edge = 288 * CHECKSUM_BLOCK_BYTES as u64;
    assert_eq!((trailer_bytes(edge), trailer_bytes(edge + 4096)), (Some(4096), Some(8192)));
    assert_eq!(split_file(edge + 4096 + 4096), None);
    for length in [0, 1, 4095, 4096, 4097, 8191, 8193, u64::MAX, u64::MAX - 4095, 1 << 63] {
        assert_eq!(split_file(length), None, "{length}");
    }
    assert_eq!(split_file(8192), Some((4096, 4096)));
}

/// Sizes near the end of the number range are refused, not wrapped.
#[test]
fn sizes_past_the_limits_are_none() {
    assert_eq!(padded(0), None);
    assert_eq!(padded(1), Some(4096));
    assert_eq!(padded(4096), Some(4096));
    assert_eq!(padded(u64::MAX), None);
    assert_eq!(trailer_bytes(u64::MAX), None);
    assert_eq!(trailer_bytes(32 << 20), Some(8192));
    assert_eq!(block_count(0), None);
    assert_eq!(block_count(u64::MAX), None);
    assert_eq!(block_count(65_536), Some(1));
    assert_eq!(block_count(65_537), Some(2));
    assert_eq!(trailer_bytes(1 << 46), None);
}

/// Two callers with different namespaces never meet, whatever their keys are made of.
#[test]
fn namespaces_keep_keys_apart() {
    let joined = |namespace: &[u8], key: &[u8]| EffectiveKey::new(namespace, key).unwrap();
    assert_ne!(joined(b"a", b"bc").bytes(), joined(b"ab", b"c").bytes());
    assert_ne!(joined(b"", b"abc").digest(), joined(b"abc"[..2].as_ref(), b"c").digest());
    assert_eq!(joined(b"ns", b"key").bytes(), b"\x02nskey");
    assert_eq!(joined(b"ns", b"key").digest(), digest(b"\x02nskey"));
    let longest = joined(&[1; 255], &[2; 1024]);
    assert_eq!(longest.bytes().len(), EFFECTIVE_KEY_BYTES_MAX);
    for (namespace, key) in [(&[0; 256][..], &[1][..]), (&[], &[]), (&[], &[0; 1025])] {
        assert_eq!(EffectiveKey::new(namespace, key).unwrap_err().status(), Status::InvalidArgument);
    }
}

/// The first page of a trailer tells its length; whatever is no first page tells nothing, however short it is.
#[test]
fn the_first_page_of_a_trailer_announces_its_length() {
    let mut trailer = vec![0; trailer_bytes(padded(70 << 20).unwrap()).unwrap() as usize];
    let identity =
        Identity { pool_id: NO_POOL, slot: NO_SLOT, generation: 1, payload_bytes: 70 << 20, key: b"\0k" };
    encode(&mut trailer, &identity, &vec![0; block_count(70 << 20).unwrap()]).unwrap();
    let page = &mut trailer.clone()[..TRAILER_BYTES_MIN as usize];
    assert_eq!(announced_bytes(page), Some(trailer.len() as u64));
    (0..24).for_each(|length| assert_eq!(announced_bytes(&page[..length]), None));
    for at in [0, 7, 16] {
        page[at] ^= 1;
        assert_eq!(announced_bytes(page), None, "byte {at}");
        page[at] ^= 1;
    }
}
