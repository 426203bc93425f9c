//! What a written value means: the booleans and numbers of PyYAML, which LMCache reads its file with, and sizes.
//! Pure functions; `None` always means "not one of these", and the caller says what is allowed.

use super::tree::{Scalar, ScalarKind};

/// Words for a boolean, for messages.
pub(super) const BOOLEAN_WORDS: &str = "true, false, yes, no, on, off, 1, 0";

/// Units that [`size`] knows, all powers of 1024. Decimal units are left out because GB means both.
const UNITS: [(&str, u32); 5] = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// The booleans of YAML 1.1 as PyYAML has them, in any case and also in quotes, and 1 and 0 as LMCache has them.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is(["true", "yes", "on", "1"]) {
        Some(true)
    } else if is(["false", "no", "off", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// The booleans of NIXL's parameters, which has more words than YAML.
pub(super) fn nixl_boolean(text: &str) -> Option<bool> {
    boolean(text).or_else(|| {
        let is = |words: [&str; 2]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
        if is(["y", "enable"]) {
            Some(true)
        } else if is(["n", "disable"]) {
            Some(false)
        } else {
            None
        }
    })
}

/// A whole number: decimal, `0x`, `0o` or `0b`, with `_` between digits; or a float without a fraction, which LMCache
/// rounds. A leading zero is refused: PyYAML reads `010` as 8, and in quotes as 10.
pub(super) fn whole(scalar: &Scalar) -> Option<u64> {
    let text = scalar.text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    digits(text).or_else(|| if scalar.kind == ScalarKind::Number { whole_float(text) } else { None })
}

fn digits(text: &str) -> Option<u64> {
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (text.get(2..)?, 16),
        Some("0o" | "0O") => (text.get(2..)?, 8),
        Some("0b" | "0B") => (text.get(2..)?, 2),
        _ => (text, 10),
    };
    let well_placed = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    let ambiguous = radix == 10 && digits.len() > 1 && digits.starts_with('0');
    if !well_placed || ambiguous || digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// Above this an `f64` no longer holds every whole number.
const FLOAT_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole_float(text: &str) -> Option<u64> {
    // PyYAML takes nothing for a float that has no point.
    if !text.contains('.') || (text.starts_with('0') && !text.starts_with("0.")) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    let fits = value.fract() == 0.0 && (0.0..=FLOAT_WHOLE_MAX).contains(&value);
    fits.then_some(value as u64)
}

/// Bytes: a whole number, alone or with a unit of [`UNITS`] in any case.
pub(super) fn size(scalar: &Scalar) -> Option<u64> {
    if let Some(bytes) = whole(scalar) {
        return Some(bytes);
    }
    let text = scalar.text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() || c.is_whitespace())?;
    let (number, unit) = text.split_at_checked(split)?;
    let shift = UNITS.iter().find(|(name, _)| unit.trim().eq_ignore_ascii_case(name))?.1;
    digits(number)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.to_owned(), kind: ScalarKind::Number }
    }

    fn quoted(text: &str) -> Scalar {
        Scalar { text: text.to_owned(), kind: ScalarKind::Text }
    }

    /// LMCache's users write booleans as YAML 1.1 allows; each spelling must mean what PyYAML makes of it.
    #[test]
    fn booleans_of_yaml_1_1_are_understood() {
        for text in ["true", "True", "TRUE", "yes", "Yes", "on", "On", "1", " true "] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["false", "False", "no", "No", "off", "OFF", "0"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        // PyYAML takes a bare `y` for a string, and a string is true: guessing would be wrong half the time.
        for text in ["y", "n", "maybe", "", "2", "truee"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    /// NIXL's own parser accepts more words, and its users write them in `nixl_backend_params`.
    #[test]
    fn booleans_of_nixl_have_more_words() {
        assert_eq!(nixl_boolean("Y"), Some(true));
        assert_eq!(nixl_boolean("enable"), Some(true));
        assert_eq!(nixl_boolean("disable"), Some(false));
        assert_eq!(nixl_boolean("True"), Some(true));
        assert_eq!(nixl_boolean("perhaps"), None);
    }

    /// A size with a slip in it must be refused, not read as some other number.
    #[test]
    fn whole_numbers_are_exact_or_refused() {
        assert_eq!(whole(&plain("1073741824")), Some(1 << 30));
        assert_eq!(whole(&plain("1_073_741_824")), Some(1 << 30));
        assert_eq!(whole(&quoted("64")), Some(64));
        assert_eq!(whole(&plain("+64")), Some(64));
        assert_eq!(whole(&plain("0x10")), Some(16));
        assert_eq!(whole(&plain("0b101")), Some(5));
        assert_eq!(whole(&plain("0")), Some(0));
        assert_eq!(whole(&plain("18446744073709551615")), Some(u64::MAX));
        assert_eq!(whole(&plain("1.0e+9")), Some(1_000_000_000));
        for text in [
            "-1",
            "1.5",
            "010",
            "1__0",
            "1e3",
            "00.0",
            "_1",
            "1_",
            "++1",
            "0x",
            "",
            "1e",
            "12:30",
            "18446744073709551616",
            "nan",
            "inf",
            "1e300",
            "0x-1",
        ] {
            assert_eq!(whole(&plain(text)), None, "{text}");
        }
        // In quotes a float is a string to LMCache too, which its int() refuses.
        assert_eq!(whole(&quoted("1.0e+9")), None);
    }

    /// Capacities are written with units; only units that mean one thing are taken.
    #[test]
    fn sizes_take_binary_units_only() {
        assert_eq!(size(&plain("4096")), Some(4096));
        assert_eq!(size(&quoted("100GiB")), Some(100 << 30));
        assert_eq!(size(&quoted("64 kib")), Some(64 << 10));
        assert_eq!(size(&quoted("2TiB")), Some(2 << 40));
        assert_eq!(size(&quoted("7B")), Some(7));
        for text in ["100GB", "100G", "GiB", "1.5GiB", "-1GiB", "99999999999TiB", "1GiBs", "é"] {
            assert_eq!(size(&quoted(text)), None, "{text}");
        }
    }
}
