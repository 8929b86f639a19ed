//! Finds the values in a JSON text (RFC 8259), and checks that it is one, in a single pass.
//!
//! An event of a front door is read for a dozen of its members; a general parser spends more on each of the others than there
//! is to do here.

/// The place in a text up to which it has been understood.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Takes an object. Calls `take` with each name, in its quotes, and each value. `None` if there is none, or if it is not
    /// JSON up to its end.
    pub(super) fn object(&mut self, mut take: impl FnMut(&'a str, &'a str)) -> Option<()> {
        self.items(b'{', b'}', |scanner| {
            let name = scanner.name()?;
            take(name, scanner.value()?);
            Some(())
        })
    }

    /// Takes a list. Calls `take` with each element. `None` as with [`Self::object`].
    pub(super) fn list(&mut self, mut take: impl FnMut(&'a str)) -> Option<()> {
        self.items(b'[', b']', |scanner| {
            take(scanner.value()?);
            Some(())
        })
    }

    /// Takes what stands between these two, with commas in between.
    fn items(&mut self, begin: u8, end: u8, mut take: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip_whitespace();
        self.expect(begin)?;
        if self.skip_if(end) {
            return Some(());
        }
        loop {
            take(self)?;
            if self.skip_if(end) {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    /// `None` if there is something left.
    pub(super) fn end(mut self) -> Option<()> {
        self.skip_whitespace();
        self.peek().is_none().then_some(())
    }

    /// A name with its quotes, and the colon behind it.
    fn name(&mut self) -> Option<&'a str> {
        self.skip_whitespace();
        let began = self.at;
        self.string()?;
        let name = self.text.get(began..self.at)?;
        self.skip_whitespace();
        self.expect(b':')?;
        Some(name)
    }

    /// Any value. However deep it is, this does not call itself: events come from strangers.
    fn value(&mut self) -> Option<&'a str> {
        self.skip_whitespace();
        let began = self.at;
        // What ends the lists and objects that have begun.
        let mut ends = Vec::new();
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' => {
                    self.at += 1;
                    if !self.skip_if(b'}') {
                        ends.push(b'}');
                        self.name()?;
                        self.skip_whitespace();
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.skip_if(b']') {
                        ends.push(b']');
                        continue;
                    }
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            }
            while ends.last().is_some_and(|end| self.skip_if(*end)) {
                ends.pop();
            }
            let Some(end) = ends.last() else {
                return self.text.get(began..self.at);
            };
            self.expect(b',')?;
            if *end == b'}' {
                self.name()?;
            }
            self.skip_whitespace();
        }
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at += special(rest)?;
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        self.take_if(|byte| byte == b'-');
        if !self.take_if(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.take_if(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.take_if(|byte| matches!(byte, b'e' | b'E')) {
            self.take_if(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let is_there = self.take_if(is_digit);
        while self.take_if(is_digit) {}
        is_there.then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += word.len();
        rest.starts_with(word.as_bytes()).then_some(())
    }

    fn skip_whitespace(&mut self) {
        while self.take_if(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {}
    }

    /// Whether the next byte after whitespace is this one, which is skipped then.
    fn skip_if(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        self.take_if(|next| next == byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take_if(|next| next == byte).then_some(())
    }

    fn take_if(&mut self, is_wanted: impl Fn(u8) -> bool) -> bool {
        let is_taken = self.peek().is_some_and(is_wanted);
        self.at += usize::from(is_taken);
        is_taken
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// Where the first byte is that a string does not simply contain: a quote, a backslash, or a control character.
///
/// Looks at eight bytes at a time. In each of them the highest bit says whether it is one; a borrow can set the bits of later
/// bytes only, so the first that is set is right.
fn special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGHEST;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return Some(8 * index + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(8 * words.len() + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// The members as a general parser finds them, if the text is an object.
    fn expected(text: &str) -> Option<Vec<(String, String)>> {
        struct Members(Vec<(String, String)>);

        impl<'de> serde::Deserialize<'de> for Members {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct MembersVisitor;

                impl<'de> serde::de::Visitor<'de> for MembersVisitor {
                    type Value = Members;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("an object")
                    }

                    fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                        let mut members = Vec::new();
                        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                            members.push((name.get().to_owned(), value.get().to_owned()));
                        }
                        Ok(Members(members))
                    }
                }

                deserializer.deserialize_map(MembersVisitor)
            }
        }

        serde_json::from_str(text).ok().map(|Members(members)| members)
    }

    fn found(text: &str) -> Option<Vec<(String, String)>> {
        let mut members = Vec::new();
        let mut scanner = Scanner::new(text);
        scanner.object(|name, value| members.push((name.to_owned(), value.to_owned())))?;
        scanner.end()?;
        Some(members)
    }

    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\\",
        "\\u12",
        "0",
        "-",
        "-0",
        "1.5",
        "01",
        "1e",
        "2E+3",
        ".",
        "true",
        "fals",
        "null",
        " ",
        "\n",
        "\t",
        "\u{b}",
        "\u{1}",
        "\u{e9}",
        "\u{1f980}",
        "\"b\":",
        "{}",
        "[]",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_finds_what_a_general_parser_finds(text in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
            let text = text.concat();
            for text in [text.clone(), format!("{{\"a\":{text}}}"), format!("{{\"a\":[{text}]}}"), format!("{{{text}}}")] {
                prop_assert_eq!(found(&text), expected(&text), "{}", text);
            }
        }
    }

    #[test]
    fn a_string_ends_at_its_first_quote_and_holds_no_control_character_wherever_they_are() {
        for length in 0..20 {
            for byte in 0..=0x7f_u8 {
                let text = format!(
                    "{{\"{}{}{}\":\"\u{e9}\u{ff}\"}}",
                    "a".repeat(length),
                    char::from(byte),
                    "b".repeat(20 - length)
                );
                assert_eq!(found(&text), expected(&text), "{text}");
            }
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        const DEPTH: usize = 1_000_000;
        let text = format!("{{\"a\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        assert_eq!(found(&text).map(|members| members.len()), Some(1));
    }
}
