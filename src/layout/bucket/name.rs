//! What an object is called in a bucket: the store's prefix, then the name that its file would have.
//!
//! Names are those of `layout/files`, so that a directory copied into the bucket is a store there, and back. Each is one
//! component, or three that this store chose, made of characters that mean nothing to a server; the prefix is checked
//! once. So no key leads out of the prefix, and no name has a component that servers refuse: `.`, `..`, an empty one, or
//! one of more than 255 bytes.

use twox_hash::XxHash3_128;

use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::files::{OBJECTS, ObjectName, has_lmcache_shape};

/// Bytes of the longest component of a name that every server takes.
const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes of the longest prefix; with it no name comes near the 1024 bytes that S3 allows.
const PREFIX_BYTES_MAX: usize = 512;
/// Prefixes by which objects are spread, those of the first byte of their digests.
pub const SHARDS: usize = 256;

/// How the objects of one store are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What every name begins with.
    root: String,
    layout: Layout,
}

impl Names {
    /// The names of a dynamic store below `prefix`, which stands in front of each as it is.
    ///
    /// # Errors
    /// [`Status::Config`] for a prefix that some server would refuse, or take for another.
    pub fn dynamic(prefix: &str, layout: Layout) -> Result<Names> {
        check_prefix(prefix)?;
        Ok(Names { root: prefix.to_owned(), layout })
    }

    /// The names of the static pool `pool` below `prefix`.
    ///
    /// # Errors
    /// As for [`Names::dynamic`].
    pub fn of_pool(prefix: &str, pool: &str) -> Result<Names> {
        check_prefix(prefix)?;
        Ok(Names { root: format!("{prefix}{pool}/"), layout: Layout::Sharded })
    }

    /// What every name of the store begins with.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The name of the object with the effective key's `digest`, made from `key` where the layout names by key.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for a key that has no name in the lmcache layout.
    pub fn name_of(&self, digest: u128, key: &[u8]) -> Result<ObjectName> {
        if self.layout == Layout::Sharded {
            return Ok(ObjectName::sharded(digest));
        }
        let name = ObjectName::lmcache(key)?;
        let component = self.root.rsplit('/').next().unwrap_or_default();
        // Behind `..` or the like a prefix that ends in a dot might still make one of them.
        let length = component.len() + name.flat().map_or(0, <[u8]>::len);
        if length > COMPONENT_BYTES_MAX {
            return Err(Error::new(
                Status::InvalidArgument,
                format!(
                    "key of {} bytes needs a name of {length} bytes in the lmcache layout, with the end of \
                     nixl_store_prefix; a component of a name has at most {COMPONENT_BYTES_MAX}",
                    key.len()
                ),
            ));
        }
        Ok(name)
    }

    /// A number that stands for the name: the digest in it, else xxh3_128 of the name.
    pub fn id_of(&self, name: &ObjectName) -> u128 {
        name.digest().unwrap_or_else(|| XxHash3_128::oneshot(name.flat().unwrap_or_default()))
    }

    /// The name in the bucket.
    pub fn whole(&self, name: &ObjectName) -> String {
        format!("{}{name}", self.root)
    }

    /// The part of the name that has to be remembered, where it cannot be made from the id.
    pub fn flat(&self, name: &ObjectName) -> Option<String> {
        name.flat().map(|flat| String::from_utf8_lossy(flat).into_owned())
    }

    /// The name behind an id, and behind what was remembered of it.
    pub fn behind(&self, id: u128, flat: Option<&str>) -> Option<ObjectName> {
        match flat {
            None => Some(ObjectName::sharded(id)),
            Some(flat) => ObjectName::from_flat_file(flat.as_bytes()),
        }
    }

    /// The object that has this name in the bucket, if it is one that the store gives.
    pub fn parse(&self, whole: &str) -> Option<ObjectName> {
        let rest = whole.strip_prefix(&self.root)?;
        match self.layout {
            Layout::Lmcache => ObjectName::from_flat_file(rest.as_bytes()),
            Layout::Sharded => {
                let (shard, file) = rest.strip_prefix(objects())?.strip_prefix('/')?.split_once('/')?;
                let name = shard_of(shard)
                    .and_then(|shard| ObjectName::from_sharded_file(shard, file.as_bytes()))?;
                // A shard has two digits, and those of the digest.
                (self.whole(&name) == whole).then_some(name)
            }
        }
    }

    /// Whether nobody else gives such a name, so that its object may be taken for this store's or LMCache's.
    pub fn is_telling(&self, name: &ObjectName) -> bool {
        name.flat().is_none_or(has_lmcache_shape)
    }

    /// What the names of the objects in one shard begin with. In the lmcache layout, which has none: of all.
    pub fn of_shard(&self, shard: u8) -> String {
        match self.layout {
            Layout::Sharded => format!("{}{}/{shard:02x}/", self.root, objects()),
            Layout::Lmcache => self.root.clone(),
        }
    }

    /// What the names of all objects begin with: a listing of it may bring others' as well.
    pub fn of_all(&self) -> String {
        match self.layout {
            Layout::Sharded => format!("{}{}/", self.root, objects()),
            Layout::Lmcache => self.root.clone(),
        }
    }

    /// Prefixes that, listed side by side, bring every object once.
    pub fn parts(&self) -> Vec<String> {
        match self.layout {
            Layout::Sharded => (0..16u8).map(|digit| format!("{}{digit:x}", self.of_all())).collect(),
            Layout::Lmcache => vec![self.root.clone()],
        }
    }

    /// The name of something of the store's own beside its objects.
    pub fn beside(&self, what: &str) -> String {
        format!("{}{what}", self.root)
    }
}

fn objects() -> &'static str {
    OBJECTS.to_str().unwrap_or_default()
}

fn shard_of(text: &str) -> Option<u8> {
    (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// A component that is empty, `.` or `..` is refused by some servers and taken for another name by others.
fn check_prefix(prefix: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(
            Status::Config,
            format!(
                "nixl_store_prefix {prefix:?}: {why}; allowed: components of 1 to {COMPONENT_BYTES_MAX} bytes with `/` \
                 between, none of them `.` or `..`"
            ),
        ))
    };
    if prefix.len() > PREFIX_BYTES_MAX {
        return refuse("too long");
    }
    if prefix.chars().any(char::is_control) {
        return refuse("it holds a control character");
    }
    let mut components = prefix.split('/').peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        match component {
            // What stands behind the last `/` is the beginning of a component.
            "" if is_last => {}
            "" => return refuse("it has an empty component"),
            "." | ".." => return refuse("it has a component `.` or `..`"),
            _ if component.len() > COMPONENT_BYTES_MAX => {
                return refuse("it has a component that is too long");
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    /// Numbers that look random and are the same each time.
    fn numbers(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    fn some_key(next: &mut impl FnMut() -> u64) -> Vec<u8> {
        let special = [b'/', b'.', b'@', b'%', 0, b'\\', b'_', 0xff, b'+', b' '];
        let length = 1 + next() as usize % 90;
        (0..length)
            .map(|_| {
                let number = next();
                if number & 1 == 0 {
                    special[(number >> 8) as usize % special.len()]
                } else {
                    (number >> 16) as u8
                }
            })
            .collect()
    }

    fn assert_safe(root: &str, whole: &str) {
        assert!(whole.starts_with(root), "{whole}");
        assert!(whole.len() <= 1024, "{}", whole.len());
        for component in whole.split('/') {
            assert!(!matches!(component, "" | "." | ".."), "{whole}");
            assert!(component.len() <= 255, "{whole}");
        }
        assert!(whole.bytes().all(|byte| byte.is_ascii_graphic()), "{whole}");
    }

    /// Whatever bytes a key has: its name stays below the prefix, has no component that a server refuses, and is found
    /// again in a listing.
    #[test]
    fn no_key_escapes_the_prefix() {
        let mut next = numbers(88172645463325252);
        for (prefix, layout) in [
            ("", Layout::Lmcache),
            ("a/b/", Layout::Lmcache),
            ("a.", Layout::Lmcache),
            ("p/", Layout::Sharded),
        ] {
            let names = Names::dynamic(prefix, layout).unwrap();
            for _ in 0..20_000 {
                let key = some_key(&mut next);
                let digest = u128::from(next()) << 64 | u128::from(next());
                let Ok(name) = names.name_of(digest, &key) else { continue };
                let whole = names.whole(&name);
                assert_safe(prefix, &whole);
                assert_eq!(names.parse(&whole).as_ref(), Some(&name), "{whole}");
                let flat = names.flat(&name);
                assert_eq!(names.behind(names.id_of(&name), flat.as_deref()).as_ref(), Some(&name));
            }
        }
    }

    /// Keys that have no safe name in the lmcache layout are refused; in the sharded one every key has a name.
    #[test]
    fn a_key_without_a_name_is_refused_clearly() {
        let names = Names::dynamic("", Layout::Lmcache).unwrap();
        for key in [&b""[..], b".", b"..", &[b'x'; 256], &[0; 86]] {
            assert_eq!(names.name_of(1, key).unwrap_err().status(), Status::InvalidArgument);
        }
        let begun = Names::dynamic("team-", Layout::Lmcache).unwrap();
        assert!(begun.name_of(1, &[b'x'; 250]).is_ok());
        let error = begun.name_of(1, &[b'x'; 251]).unwrap_err();
        assert!(error.message().contains("nixl_store_prefix"), "{error}");
        let sharded = Names::dynamic("", Layout::Sharded).unwrap();
        assert!(sharded.name_of(1, &[0; 1024]).is_ok());
    }

    /// LMCache reads ours and we read its objects only if the names are the same to the byte.
    #[test]
    fn the_lmcache_layout_has_the_names_of_lmcache() {
        let names = Names::dynamic("", Layout::Lmcache).unwrap();
        let name = names.name_of(1, b"meta-llama/Llama-3.1-8B@1@0@-1a2b@bfloat16").unwrap();
        assert_eq!(names.whole(&name), "meta-llama_Llama-3.1-8B_1_0_-1a2b_bfloat16");
        let name = names.name_of(1, "a b+c%é".as_bytes()).unwrap();
        assert_eq!(names.whole(&name), "a%20b%2Bc%25%C3%A9");
        assert!(!names.is_telling(&name));
    }

    /// A directory that is copied into the bucket is a store there.
    #[test]
    fn the_sharded_layout_has_the_paths_of_files() {
        let names = Names::dynamic("p/", Layout::Sharded).unwrap();
        let name = names.name_of(0xab << 120 | 7, b"any").unwrap();
        assert_eq!(names.whole(&name), "p/nixl_store_objects/ab/ab000000000000000000000000000007");
        assert!(names.whole(&name).starts_with(&names.of_shard(0xab)));
        assert!(names.parts().iter().filter(|part| names.whole(&name).starts_with(*part)).count() == 1);
    }

    /// A listing brings strangers' objects too. None is taken for one of the store's.
    #[test]
    fn strangers_are_passed_over() {
        let names = Names::dynamic("p/", Layout::Sharded).unwrap();
        for whole in [
            "p/nixl_store_objects/ab/ac000000000000000000000000000007",
            "p/nixl_store_objects/AB/ab000000000000000000000000000007",
            "p/nixl_store_objects/+b/0b000000000000000000000000000007",
            "p/nixl_store_objects/ab/ab00000000000000000000000000000",
            "p/nixl_store_objects/ab/ab000000000000000000000000000007/",
            "p/nixl_store_objects/ab/",
            "q/nixl_store_objects/ab/ab000000000000000000000000000007",
            "p/nixl_store_pool/manifest",
        ] {
            assert_eq!(names.parse(whole), None, "{whole}");
        }
        let flat = Names::dynamic("p/", Layout::Lmcache).unwrap();
        for whole in ["p/a/b", "p/", "p/..", "p/a b", "p/%41", "a"] {
            assert_eq!(flat.parse(whole), None, "{whole}");
        }
    }

    /// A prefix that one server refuses and another normalises would be two places.
    #[test]
    fn a_prefix_that_servers_take_differently_is_refused() {
        for prefix in ["a//b", "../", "a/./b/", "a/..", "/a", "a\nb/", &"x".repeat(256), &"x/".repeat(300)] {
            let error = Names::dynamic(prefix, Layout::Sharded).unwrap_err();
            assert_eq!(error.status(), Status::Config, "{prefix}");
        }
        for prefix in ["", "a", "a/", "a/b.c/", "team-"] {
            assert!(Names::of_pool(prefix, "nixl_store_pool").is_ok(), "{prefix}");
        }
    }
}
