//! Whether a text is JSON. `$LMCACHE_EXTRA_CONFIG` must be: LMCache ignores one that is not and goes on with the file,
//! so to accept YAML there would make two readers of one environment disagree. Values are then read by
//! [`super::tree`], as JSON is YAML.

use super::tree::DEPTH_MAX;

/// The byte offset of the first thing that is not JSON.
pub(super) fn check(text: &str) -> Result<(), usize> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let whole = scanner.value(0).and_then(|()| {
        scanner.space();
        if scanner.at == scanner.bytes.len() { Some(()) } else { None }
    });
    whole.ok_or(scanner.at)
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.peek()? {
            b'{' => self.items(b'}', |scanner| {
                scanner.space();
                scanner.string()?;
                scanner.take(b':')?;
                scanner.value(depth + 1)
            }),
            b'[' => self.items(b']', |scanner| scanner.value(depth + 1)),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.take(end).is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let matches = self.bytes.get(self.at..)?.starts_with(word);
        matches.then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            let digits = self.bytes.get(self.at + 1..self.at + 5)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.at += 5;
                        }
                        _ => return None,
                    }
                }
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check must pass everything that Python's `json.loads` passes, and every passed text must be readable as
    /// YAML: else a variable that works for LMCache would fail here.
    #[test]
    fn json_passes_and_is_yaml() {
        for text in [
            "{}",
            " { } ",
            "[]",
            "{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":\"x\"}}",
            "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t1,\n\t\t2\n\t]\n}",
            "{\r\n  \"a\": \"b: c # d\",\r\n  \"e\": -1.5e+10\r\n}",
            "{\"a\":\"\\u00e9\\ud83d\\ude00\\/\\\"\\\\\\n\"}",
            "{\"a\":\"{[,\"}",
            "0",
            "-0.0",
            "\"text\"",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
            assert!(super::super::tree::parse(text).is_ok(), "{text}");
        }
    }

    /// YAML that is no JSON is refused although the YAML parser would take it.
    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{a: 1}",
            "{'a': 1}",
            "{\"a\": 1,}",
            "{\"a\": 1} x",
            "{\"a\": yes}",
            "{\"a\": 010}",
            "{\"a\": \"\\x41\"}",
            "{\"a\": \"\\u12\"}",
            "{\"a\": 1 # c\n}",
            "{\"a\"",
            "[1 2]",
            "\"open",
            "1.",
            "1e",
            "-",
            "nul",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check(&"[".repeat(100_000)).is_err());
    }
}
