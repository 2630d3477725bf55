//! Whether a text is JSON that the server can take as jsonb, so that whatever shows readings as documents never chokes on one.
//! Pure, without recursion, and nothing is built.

/// Deepest nesting. The server's own limit follows from its stack; this is well below it wherever it runs.
pub const MOST_LEVELS: usize = 200;

/// What the server's numeric has room for: digits before and after the point.
const MOST_INTEGER_DIGITS: i64 = 131_072;
const MOST_FRACTION_DIGITS: i64 = 16_383;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonFault {
    Invalid,
    /// The character zero, which a text of the server cannot hold.
    Zero,
    NumberOutOfRange,
    TooDeep,
}

/// None: it is one.
pub fn json_fault(text: &[u8]) -> Option<JsonFault> {
    if std::str::from_utf8(text).is_err() {
        return Some(JsonFault::Invalid);
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.document().err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

const OBJECT: u8 = b'}';
const ARRAY: u8 = b']';

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), JsonFault> {
        // What closes each level that is open.
        let mut open: Vec<u8> = Vec::new();
        loop {
            // A value begins here.
            let token = self.next_token()?;
            if matches!(token, b'{' | b'[') && open.len() == MOST_LEVELS {
                return Err(JsonFault::TooDeep);
            }
            match token {
                b'{' => {
                    if self.peek_token() == Some(OBJECT) {
                        self.at += 1;
                    } else {
                        self.key()?;
                        open.push(OBJECT);
                        continue;
                    }
                }
                b'[' => {
                    if self.peek_token() == Some(ARRAY) {
                        self.at += 1;
                    } else {
                        open.push(ARRAY);
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                first @ (b'-' | b'0'..=b'9') => self.number(first)?,
                _ => return Err(JsonFault::Invalid),
            }
            // A value has ended here.
            loop {
                let Some(closing) = open.last().copied() else {
                    return match self.peek_token() {
                        None => Ok(()),
                        Some(_) => Err(JsonFault::Invalid),
                    };
                };
                match self.next_token()? {
                    b',' => {
                        if closing == OBJECT {
                            self.key()?;
                        }
                        break;
                    }
                    token if token == closing => drop(open.pop()),
                    _ => return Err(JsonFault::Invalid),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), JsonFault> {
        if self.next_token()? != b'"' {
            return Err(JsonFault::Invalid);
        }
        self.string()?;
        match self.next_token()? {
            b':' => Ok(()),
            _ => Err(JsonFault::Invalid),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, JsonFault> {
        let byte = self.peek().ok_or(JsonFault::Invalid)?;
        self.at += 1;
        Ok(byte)
    }

    fn peek_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn next_token(&mut self) -> Result<u8, JsonFault> {
        self.peek_token();
        self.next()
    }

    fn word(&mut self, rest: &[u8]) -> Result<(), JsonFault> {
        for wanted in rest {
            if self.next()? != *wanted {
                return Err(JsonFault::Invalid);
            }
        }
        Ok(())
    }

    /// After the quote that opens it.
    fn string(&mut self) -> Result<(), JsonFault> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..=0x1f => return Err(JsonFault::Invalid),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonFault> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.four_digits()? {
                0 => Err(JsonFault::Zero),
                // Half of a character; the other half must follow.
                0xd800..=0xdbff => {
                    let follows = self.next()? == b'\\' && self.next()? == b'u';
                    match follows && (0xdc00..=0xdfff).contains(&self.four_digits()?) {
                        true => Ok(()),
                        false => Err(JsonFault::Invalid),
                    }
                }
                0xdc00..=0xdfff => Err(JsonFault::Invalid),
                _ => Ok(()),
            },
            _ => Err(JsonFault::Invalid),
        }
    }

    fn four_digits(&mut self) -> Result<u32, JsonFault> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(JsonFault::Invalid)?;
            number = number * 16 + digit;
        }
        Ok(number)
    }

    fn number(&mut self, first: u8) -> Result<(), JsonFault> {
        let first = if first == b'-' { self.next()? } else { first };
        let integer = match first {
            b'0' => 0,
            b'1'..=b'9' => 1 + self.digits(),
            _ => return Err(JsonFault::Invalid),
        };
        let mut fraction = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            fraction = self.digits();
            if fraction == 0 {
                return Err(JsonFault::Invalid);
            }
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            exponent = self.exponent()?;
        }
        if integer + exponent > MOST_INTEGER_DIGITS || fraction - exponent > MOST_FRACTION_DIGITS {
            return Err(JsonFault::NumberOutOfRange);
        }
        Ok(())
    }

    fn digits(&mut self) -> i64 {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at - start) as i64
    }

    fn exponent(&mut self) -> Result<i64, JsonFault> {
        let sign = match self.peek() {
            Some(b'-') => -1,
            _ => 1,
        };
        if let Some(b'+' | b'-') = self.peek() {
            self.at += 1;
        }
        let start = self.at;
        if self.digits() == 0 {
            return Err(JsonFault::Invalid);
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        let value = digits.iter().fold(0i64, |value, digit| {
            (value * 10 + i64::from(digit - b'0')).min(i64::from(i32::MAX))
        });
        Ok(sign * value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<JsonFault> {
        json_fault(text.as_bytes())
    }

    #[test]
    fn json_is_recognised() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "21.5",
            "-1.5e-3",
            "1E+5",
            "\"\"",
            "[]",
            "{}",
            " [1, 2 , {\"a\": [ ]}]\n",
            "{\"a\":{\"b\":\"c\"},\"d\":null}",
            "\"\\u00e4\\n\\/\"",
            "\"\\ud83d\\ude00\"",
            "\"größe\"",
            "{\"\":0,\"\":1}",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_not() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "NaN",
            "Infinity",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "1e+",
            "0x1",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\t\"",
            "\"\\ud83d\"",
            "\"\\ud83d\\u0041\"",
            "\"\\ude00\"",
            "[",
            "]",
            "[1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":1]",
            "[1}",
            "1 2",
            "{} {}",
            "[1]]",
        ] {
            assert_eq!(fault(text), Some(JsonFault::Invalid), "{text}");
        }
        assert_eq!(json_fault(b"\"\xff\""), Some(JsonFault::Invalid));
    }

    #[test]
    fn what_jsonb_cannot_hold_is_told_apart() {
        assert_eq!(fault("{\"a\": \"x\\u0000y\"}"), Some(JsonFault::Zero));
        assert_eq!(fault("1e131071"), None);
        assert_eq!(fault("1e131072"), Some(JsonFault::NumberOutOfRange));
        assert_eq!(fault("1e-16383"), None);
        assert_eq!(fault("1e-16384"), Some(JsonFault::NumberOutOfRange));
        assert_eq!(fault("1e99999999999999999999"), Some(JsonFault::NumberOutOfRange));
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(fault(&nested(MOST_LEVELS)), None);
        assert_eq!(fault(&nested(MOST_LEVELS + 1)), Some(JsonFault::TooDeep));
        assert_eq!(fault(&"[".repeat(10_000_000)), Some(JsonFault::TooDeep));
    }
}
