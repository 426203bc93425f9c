//! The C API: check, convert, call, return.
