//! Payloads that tell which key and version they are, every byte of them.

/// Bytes of the shortest payload that [`read`] can judge.
pub const BYTES_MIN: usize = 16;

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The payload of `version` of `key`: the version, the length, then bytes made from key, version and place.
pub fn fill(key: &str, version: u64, length: usize) -> Vec<u8> {
    assert!(length >= BYTES_MIN);
    let mut payload = Vec::with_capacity(length + 8);
    payload.extend_from_slice(&version.to_le_bytes());
    payload.extend_from_slice(&(length as u64).to_le_bytes());
    let seed = hash(key.as_bytes()) ^ version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut place = 0u64;
    while payload.len() < length {
        place += 1;
        payload.extend_from_slice(&word(seed, place).to_le_bytes());
    }
    payload.truncate(length);
    payload
}

/// The version of `key` that `payload` is. Anything else, if only in one byte, is described.
pub fn read(key: &str, payload: &[u8]) -> Result<u64, String> {
    if payload.len() < BYTES_MIN {
        return Err(format!("{key}: {} bytes are no payload", payload.len()));
    }
    let version = u64::from_le_bytes(payload[..8].try_into().unwrap());
    let wanted = fill(key, version, payload.len());
    match wanted.iter().zip(payload).position(|(wanted, found)| wanted != found) {
        None => Ok(version),
        Some(place) => {
            Err(format!("{key}: byte {place} of {} is not that of version {version}", payload.len()))
        }
    }
}

fn word(seed: u64, place: u64) -> u64 {
    let mixed = (seed ^ place).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 32)
}
