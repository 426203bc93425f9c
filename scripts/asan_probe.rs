//! Reads freed memory on purpose: test-asan.sh runs it to see that AddressSanitizer is on.

fn main() {
    let freed = Box::into_raw(Box::new(7u8));
    // SAFETY: the first line is sound. The second one is not, which is what this program is for.
    unsafe {
        drop(Box::from_raw(freed));
        println!("{}", std::ptr::read_volatile(freed));
    }
}
