//! Text for C, in which a NUL is the end: it is cut where there is no room, and has no NUL inside.

/// How many bytes of `text` fit into `bytes_max` without cutting a character in two.
pub(super) fn fitting(text: &str, bytes_max: usize) -> usize {
    let mut fits = bytes_max.min(text.len());
    // 0 and the length are always boundaries, so this ends.
    while !text.is_char_boundary(fits) {
        fits -= 1;
    }
    fits
}

/// The bytes of `text`, with a space for each NUL, which would end it early in C.
pub(super) fn bytes_for_c(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|byte| if byte == 0 { b' ' } else { byte })
}
