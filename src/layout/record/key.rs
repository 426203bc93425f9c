//! The effective key: what the caller named and the namespace it named it in, as one string of bytes.

use std::fmt;

use twox_hash::XxHash3_128;

use crate::error::{Error, Result, Status};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest namespace in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// Bytes of the longest effective key.
pub const EFFECTIVE_KEY_BYTES_MAX: usize = 1 + NAMESPACE_BYTES_MAX + KEY_BYTES_MAX;

/// Bytes of an effective key that need not care for the longest there may be: a hash in hexadecimal and a model's name.
const SHORT_KEY_BYTES_MAX: usize = 128;

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
        check(namespace, key)?;
        let mut buffer = [0; EFFECTIVE_KEY_BYTES_MAX];
        let length = join(namespace, key, &mut buffer).len();
        Ok(EffectiveKey { digest: digest(&buffer[..length]), length, buffer })
    }

    /// The effective key with these bytes, as a record has it; `None`: they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<EffectiveKey> {
        let (namespace, key) = parts(bytes)?;
        EffectiveKey::new(namespace, key).ok()
    }

    /// Lends the joined bytes to `act` without making a value of them: clearing and moving the longest key's bytes
    /// would take longer than all the rest of a lookup.
    ///
    /// # Errors
    /// As [`EffectiveKey::new`].
    #[inline]
    pub fn lend<T>(namespace: &[u8], key: &[u8], act: impl FnOnce(&[u8]) -> T) -> Result<T> {
        check(namespace, key)?;
        Ok(if 1 + namespace.len() + key.len() <= SHORT_KEY_BYTES_MAX {
            act(join(namespace, key, &mut [0; SHORT_KEY_BYTES_MAX]))
        } else {
            act(join(namespace, key, &mut [0; EFFECTIVE_KEY_BYTES_MAX]))
        })
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

#[inline]
fn check(namespace: &[u8], key: &[u8]) -> Result<()> {
    if namespace.len() <= NAMESPACE_BYTES_MAX && (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(refusal(namespace.len(), key.len()))
}

#[cold]
fn refusal(namespace_bytes: usize, key_bytes: usize) -> Error {
    let message = if namespace_bytes > NAMESPACE_BYTES_MAX {
        format!("namespace of {namespace_bytes} bytes; at most {NAMESPACE_BYTES_MAX} are allowed")
    } else {
        format!("key of {key_bytes} bytes; 1 to {KEY_BYTES_MAX} are allowed")
    };
    Error::new(Status::InvalidArgument, message)
}

/// Writes an effective key to the front of `buffer`, which has room for it; both parts were checked.
#[inline]
fn join<'a>(namespace: &[u8], key: &[u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let key_at = 1 + namespace.len();
    let length = key_at + key.len();
    buffer[0] = namespace.len() as u8;
    buffer[1..key_at].copy_from_slice(namespace);
    buffer[key_at..length].copy_from_slice(key);
    &buffer[..length]
}

/// The digest of an effective key: XXH3-128.
#[inline]
pub fn digest(effective_key: &[u8]) -> u128 {
    XxHash3_128::oneshot(effective_key)
}

/// Namespace and key that an effective key was made of; `None`: it is none.
pub fn parts(effective_key: &[u8]) -> Option<(&[u8], &[u8])> {
    if !is_effective(effective_key) {
        return None;
    }
    let (namespace_bytes, rest) = effective_key.split_first()?;
    rest.split_at_checked(usize::from(*namespace_bytes))
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
