//! Sizes as people type them.

/// Bytes from `4096`, `64K`, `1.5GiB`: the letters stand for powers of 1024.
///
/// # Errors
/// In words, if it is none.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; allowed: a number, and K, M, G or T behind it");
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << power).ok_or_else(wrong);
    }
    let value = number.parse::<f64>().map_err(|_| wrong())?;
    let bytes = value * (1u64 << power) as f64;
    if (0.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_typed() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64k", 65536), ("1.5GiB", 3 << 29), ("2 MB", 2 << 20)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "K", "1X", "-1", "1e9", "99999999999T"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
