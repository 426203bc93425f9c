//! What dependencies would export, and must not: the library's symbols are `nixl_store_*` and no others.
//!
//! rustc exports the C functions of every crate below a shared library, and crc-fast, which the S3 SDK brings, has some
//! for callers in C. No linker option takes them out everywhere: the GNU linker refuses a version script beside
//! rustc's, lld believes rustc's, and link-time optimisation leaves no archive to exclude. What all of them obey is the
//! rule of ELF that a symbol has the narrowest visibility that any object asks for. So this object asks.
//!
//! A weak reference costs nothing where the function is not there, nor does it keep a function that nobody calls.
//! `scripts/check-symbols.sh` fails when there is a name to add.

macro_rules! hide {
    ($($name:literal)*) => {
        core::arch::global_asm!($(concat!(".weak ", $name, "\n.hidden ", $name),)*);
    };
}

hide! {
    "crc_fast_checksum"
    "crc_fast_checksum_combine"
    "crc_fast_checksum_combine_with_params"
    "crc_fast_checksum_file"
    "crc_fast_checksum_file_with_params"
    "crc_fast_checksum_with_params"
    "crc_fast_clear_error"
    "crc_fast_crc32_iscsi"
    "crc_fast_crc32_iso_hdlc"
    "crc_fast_crc64_nvme"
    "crc_fast_digest_combine"
    "crc_fast_digest_finalize"
    "crc_fast_digest_finalize_reset"
    "crc_fast_digest_free"
    "crc_fast_digest_get_amount"
    "crc_fast_digest_get_state"
    "crc_fast_digest_new"
    "crc_fast_digest_new_with_init_state"
    "crc_fast_digest_new_with_params"
    "crc_fast_digest_reset"
    "crc_fast_digest_update"
    "crc_fast_error_message"
    "crc_fast_get_calculator_target"
    "crc_fast_get_custom_params"
    "crc_fast_get_last_error"
    "crc_fast_get_version"
}
