//! Keys, which are any bytes, as text that can be typed and printed: `\xNN` stands for a byte that is no printable text, and
//! `\\` for a backslash.

use crate::output::Failure;

/// The key as text; [`parse`] gives the same bytes back.
pub fn print(key: &[u8]) -> String {
    let mut text = String::new();
    for chunk in key.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if character.is_control() || (character.is_whitespace() && character != ' ') => {
                    let mut bytes = [0; 4];
                    escape(&mut text, character.encode_utf8(&mut bytes).as_bytes());
                }
                _ => text.push(character),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// The bytes of a key as [`print`] prints it.
///
/// # Errors
/// If a backslash is followed by anything else.
pub fn parse(text: &str) -> Result<Vec<u8>, Failure> {
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            key.push(byte);
        } else if let Some(behind) = rest.strip_prefix(b"\\") {
            key.push(b'\\');
            rest = behind;
        } else {
            let digits = rest.strip_prefix(b"x").and_then(|digits| digits.get(..2));
            let value = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            let value = value.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            key.push(value.ok_or_else(|| {
                Failure::new(format!(
                    "key {text:?}: a backslash stands in front of another one or of x and two hexadecimal digits"
                ))
            })?);
            rest = &rest[3..];
        }
    }
    Ok(key)
}

/// The key in hexadecimal.
pub fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_text() {
        for (key, text) in [
            (&b"plain key"[..], "plain key"),
            (b"back\\slash", "back\\\\slash"),
            (b"\x00\n\xff", "\\x00\\x0a\\xff"),
            ("größe".as_bytes(), "größe"),
            (b"\xc3", "\\xc3"),
            ("\u{2028}".as_bytes(), "\\xe2\\x80\\xa8"),
        ] {
            assert_eq!(print(key), text);
            assert_eq!(parse(text).unwrap(), key);
        }
        for wrong in ["\\", "\\n", "\\x1", "\\xg0", "\\x+1", "a\\x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
