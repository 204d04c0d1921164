//! Telling whether Postgres takes a text as jsonb, so that no value fails a whole COPY.

/// Deeper nesting could exhaust the server's stack (`max_stack_depth`, 2 MB by default).
const MAX_DEPTH: usize = 1_000;
/// Exponents (of either sign) and digits that a numeric holds with certainty.
const MOST_EXPONENT: i64 = 10_000;
const MOST_DIGITS: usize = 6_000;

/// Returns whether `text` (UTF-8) is JSON that jsonb holds whole: no NUL, paired surrogates, numbers within numeric,
/// no key twice in one object.
pub fn is_valid(text: &[u8]) -> bool {
    let mut parser = Parser { text, at: 0 };
    parser.value(0).is_some() && {
        parser.space();
        parser.at == text.len()
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

/// Keys compared one by one below this number; sorting costs more.
const FEW_KEYS: usize = 24;

fn all_distinct(keys: &mut [&[u8]]) -> bool {
    if keys.len() <= FEW_KEYS {
        return (1..keys.len()).all(|at| !keys[..at].contains(&keys[at]));
    }
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Some(());
        }
        let text = self.text;
        let mut keys: Vec<&[u8]> = Vec::new();
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return None;
            }
            let start = self.at;
            self.string()?;
            keys.push(&text[start..self.at]);
            self.space();
            self.expect(b':')?;
            self.value(depth + 1)?;
            self.space();
            if !self.take(b',') {
                self.expect(b'}')?;
                // jsonb would keep the last of two equal keys and drop the others.
                return all_distinct(&mut keys).then_some(());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest
                .iter()
                .position(|&byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.code_unit()? {
                0 | 0xdc00..0xe000 => None,
                0xd800..0xdc00 => {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    (0xdc00..0xe000).contains(&self.code_unit()?).then_some(())
                }
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn code_unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | char::from(self.peek()?).to_digit(16)?;
            self.at += 1;
        }
        Some(unit)
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        let mut digits = 1;
        if !self.take(b'0') {
            digits = self.digits()?;
        }
        if self.take(b'.') {
            digits += self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            let start = self.at;
            self.digits()?;
            let text = std::str::from_utf8(self.text.get(start..self.at)?).ok()?;
            text.parse::<i64>()
                .ok()
                .filter(|&exponent| exponent <= MOST_EXPONENT)?;
        }
        (digits <= MOST_DIGITS).then_some(())
    }
}
