//! No key leads out of the store, and names say what they must. That they equal LMCache's is the
//! business of `tests/interchange`.

use super::super::name::{ObjectName, has_lmcache_shape};
use super::*;
use crate::error::Status;

/// Keys made to escape, in the layout that names files by key. Each either gets a name that is one
/// harmless component, or is refused as an argument.
#[test]
fn no_key_names_a_file_outside_of_the_store() {
    let mut keys: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    for text in [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "./x",
        "..\0",
        "a\0b",
        "%2e%2e%2f",
        "..%2f..",
        "\\..\\",
        "~root",
        ".nixl_store+tmp",
        ".nixl_store+pins",
        "nixl_store_objects/ab",
        "caf\u{e9}/\u{2215}..",
    ] {
        keys.push(text.as_bytes().to_vec());
    }
    let dir = TestDir::new();
    let inside = dir.join("inside");
    let store = open_as(&inside, Layout::Lmcache);
    for key in keys {
        let Ok(name) = store.name_of(0, &key) else {
            assert!(matches!(key.as_slice(), b"" | b"." | b".."), "{key:?} was refused");
            continue;
        };
        let text = name.to_string();
        assert!(!text.contains(['/', '\0', '+', '@']) && text != "." && text != ".." && !text.is_empty());
        assert_eq!(text, name.file_name());
        put(&store, &name, &key);
        assert_eq!(std::fs::read(inside.join(&text)).unwrap(), key);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A key whose name the file system cannot hold, by one byte. The message must say so, and the
/// longest that it can hold must work.
#[test]
fn a_key_too_long_for_a_file_name_is_an_invalid_argument() {
    let dir = TestDir::new();
    let store = open_as(dir.path(), Layout::Lmcache);
    for (key, bytes) in [("a".repeat(255), 255), (" ".repeat(85), 255)] {
        let name = store.name_of(0, key.as_bytes()).unwrap();
        assert_eq!(name.file_name().len(), bytes);
        put(&store, &name, b"x");
        assert_eq!(get(&store, &name).unwrap(), b"x");
    }
    for (key, bytes) in [("a".repeat(256), 256), (" ".repeat(86), 258), ("%".repeat(1024), 3072)] {
        let error = store.name_of(0, key.as_bytes()).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains(&format!("{bytes} bytes")), "{}", error.message());
    }
}

/// The names of the sharded layout are fixed by the format on storage.
#[test]
fn sharded_names_are_the_digest_below_its_first_digits() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let digest = 0x0123_4567_89ab_cdef_0000_0000_0000_00ff;
    let name = store.name_of(digest, b"the key does not matter").unwrap();
    assert_eq!(name.to_string(), "nixl_store_objects/01/0123456789abcdef00000000000000ff");
    assert_eq!(store.id_of(&name), digest);
    put(&store, &name, b"there");
    assert_eq!(std::fs::read(dir.join(name.to_string())).unwrap(), b"there");
}

/// The scan takes a flat file name for an object's only if encoding some key gives that very name,
/// so that no object is known by two names.
#[test]
fn only_names_that_encoding_can_give_are_read_back() {
    for key in ["meta-llama/Llama@8@0@1f@half", "a b%c~d", "\u{6a21}\u{578b}", "tag%value", "..."] {
        let name = ObjectName::lmcache(key.as_bytes()).unwrap();
        assert_eq!(ObjectName::from_flat_file(name.file_name().as_bytes()), Some(name));
    }
    for foreign in
        ["", ".", "..", "a+b", "a b", "%", "%2", "%zz", "%2f", "%2F", "%40", "%41", "%5F", "%c3%a9", "\u{e9}"]
    {
        assert_eq!(ObjectName::from_flat_file(foreign.as_bytes()), None, "{foreign}");
    }
    assert_eq!(ObjectName::from_flat_file(&[b'a'; 256]), None);
}

/// In a shared directory, LMCache's files are known by the shape of their names and strangers' are not.
#[test]
fn the_shape_of_lmcache_names_is_told_from_other_files() {
    for ours in [
        "meta-llama_Llama-3.1-8B_1_0_1f3a_bfloat16",
        "m_8_7_-5d_half",
        "m_2_1_0_fp8_e4m3fnuz_31",
        "some_model_1_2_beef_8_3_ab12_int8_tag%25value",
        "_1_0_a_bool",
    ] {
        assert!(has_lmcache_shape(ours.as_bytes()), "{ours}");
    }
    for theirs in
        ["README.md", "obj_0_1a2b.bin", "obj_12_ab34_1.bin", "m_1_0_xyz_half", "m_1_0_ab_halfway", "", "____"]
    {
        assert!(!has_lmcache_shape(theirs.as_bytes()), "{theirs}");
    }
}
