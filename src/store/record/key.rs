//! The effective key: what the caller named and the namespace it named it in, as one string of bytes.

use std::fmt;

use twox_hash::XxHash3_128;

use crate::error::{Error, Result, Status};
use crate::store::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};

/// Bytes of the longest effective key.
pub const EFFECTIVE_KEY_BYTES_MAX: usize = 1 + NAMESPACE_BYTES_MAX + KEY_BYTES_MAX;

// The namespace's length is stored in one byte.
const _: () = assert!(NAMESPACE_BYTES_MAX == u8::MAX as usize);

/// `[namespace length: 1 byte][namespace][key]`, held inline.
///
/// The length in front keeps two namespaces apart whatever bytes the keys hold.
#[derive(Clone)]
pub struct EffectiveKey {
    digest: u128,
    length: usize,
    buffer: [u8; EFFECTIVE_KEY_BYTES_MAX],
}

impl EffectiveKey {
    /// Joins namespace and key.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an empty key, or a key or namespace that is too long.
    pub fn new(namespace: &[u8], key: &[u8]) -> Result<EffectiveKey> {
        let refuse = |message: String| Err(Error::new(Status::InvalidArgument, message));
        let Ok(namespace_bytes) = u8::try_from(namespace.len()) else {
            return refuse(format!(
                "namespace of {} bytes; at most {NAMESPACE_BYTES_MAX} are allowed",
                namespace.len()
            ));
        };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return refuse(format!("key of {} bytes; 1 to {KEY_BYTES_MAX} are allowed", key.len()));
        }
        let mut buffer = [0; EFFECTIVE_KEY_BYTES_MAX];
        let length = 1 + namespace.len() + key.len();
        buffer[0] = namespace_bytes;
        buffer[1..1 + namespace.len()].copy_from_slice(namespace);
        buffer[1 + namespace.len()..length].copy_from_slice(key);
        Ok(EffectiveKey { digest: digest(&buffer[..length]), length, buffer })
    }

    /// The effective key as it is stored and compared.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// XXH3-128 of [`EffectiveKey::bytes`].
    pub fn digest(&self) -> u128 {
        self.digest
    }
}

impl fmt::Debug for EffectiveKey {
    /// Keys are the engine's business and may be long: only the digest shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EffectiveKey({:032x})", self.digest)
    }
}

/// The digest of an effective key: XXH3-128.
pub fn digest(effective_key: &[u8]) -> u128 {
    XxHash3_128::oneshot(effective_key)
}

/// Whether `bytes` could have come from [`EffectiveKey::new`].
pub(crate) fn is_effective(bytes: &[u8]) -> bool {
    let Some((namespace_bytes, rest)) = bytes.split_first() else {
        return false;
    };
    rest.len()
        .checked_sub(usize::from(*namespace_bytes))
        .is_some_and(|key_bytes| (1..=KEY_BYTES_MAX).contains(&key_bytes))
}
