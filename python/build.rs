//! How the extension module is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // It has the library in it and exports its functions, as cargo does with what is `no_mangle`. In a process where an
    // engine has loaded libnixl_store.so, its own calls must still reach its own.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    // A signal handler in it must not be unloaded (src/sys/bus_error.rs).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
