//! Gives the shared library its soname, which carries the ABI version.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnixl_store.so.0");
    // A signal handler in it must not be unloaded (src/sys/bus_error.rs).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
