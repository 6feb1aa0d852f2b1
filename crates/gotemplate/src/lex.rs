//! Template text -> tokens, with Go's rules for trimming and Go's words for what it cannot read.
use crate::error::Error;

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Text,
    LeftDelim,
    RightDelim,
    Space,
    Identifier,
    Keyword,
    /// `.name`
    Field,
    Dot,
    /// `$` or `$name`
    Variable,
    Bool,
    Char,
    Number,
    Str,
    RawStr,
    Pipe,
    Declare,
    Assign,
    Comma,
    LeftParen,
    RightParen,
    Eof,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub kind: Kind,
    pub pos: usize,
    pub line: usize,
    pub text: String,
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template"];
const TRIM: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_space(c: char) -> bool {
    TRIM.contains(&c)
}
fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    line: usize,
    parens: usize,
    out: Vec<Token>,
}

/// Splits `input` into tokens; the last one is `Eof`.
pub fn tokens(input: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { input, pos: 0, line: 1, parens: 0, out: Vec::new() };
    lexer.text()?;
    Ok(lexer.out)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.input[self.pos..]
    }
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::parse(self.line, message.into()))
    }
    fn emit(&mut self, kind: Kind, len: usize) {
        let text = &self.input[self.pos..self.pos + len];
        self.out.push(Token { kind, pos: self.pos, line: self.line, text: text.to_owned() });
        self.skip(len);
    }
    fn skip(&mut self, len: usize) {
        self.line += self.input[self.pos..self.pos + len].matches('\n').count();
        self.pos += len;
    }

    fn text(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            let Some(at) = rest.find("{{") else {
                if !rest.is_empty() {
                    self.emit(Kind::Text, rest.len());
                }
                self.emit(Kind::Eof, 0);
                return Ok(());
            };
            let trim = starts_with_trim_marker(&rest[at + 2..]);
            let text = if trim { rest[..at].trim_end_matches(TRIM) } else { &rest[..at] };
            if !text.is_empty() {
                self.emit(Kind::Text, text.len());
            }
            self.skip(at - text.len());
            let marker = if trim { 2 } else { 0 };
            if self.input[self.pos + 2 + marker..].starts_with("/*") {
                self.comment(2 + marker)?;
                continue;
            }
            self.emit(Kind::LeftDelim, 2);
            self.skip(marker);
            self.action()?;
        }
    }

    fn comment(&mut self, before: usize) -> Result<(), Error> {
        self.skip(before);
        let Some(end) = self.rest().find("*/") else { return self.fail("unclosed comment") };
        self.skip(end + 2);
        match self.right_delim() {
            Some((len, trim)) => {
                self.skip(len);
                self.trim_left(trim);
                Ok(())
            }
            None => self.fail("comment ends before closing delimiter"),
        }
    }

    fn trim_left(&mut self, trim: bool) {
        if trim {
            let rest = self.rest();
            self.skip(rest.len() - rest.trim_start_matches(TRIM).len());
        }
    }

    /// Length of the closing delimiter here, and whether it trims.
    fn right_delim(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        let mut chars = rest.chars();
        if chars.next().is_some_and(is_space) && rest[1..].starts_with("-}}") {
            return Some((4, true));
        }
        rest.starts_with("}}").then_some((2, false))
    }

    fn action(&mut self) -> Result<(), Error> {
        self.parens = 0;
        loop {
            if let Some((len, trim)) = self.right_delim() {
                if self.parens > 0 {
                    return self.fail("unclosed left paren");
                }
                self.emit(Kind::RightDelim, len);
                self.trim_left(trim);
                return Ok(());
            }
            self.token()?;
        }
    }

    fn token(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return self.fail("unclosed action") };
        match c {
            c if is_space(c) => {
                // the space of a trimming delimiter belongs to the delimiter
                let mut len = rest.len() - rest.trim_start_matches(TRIM).len();
                if rest[len..].starts_with("-}}") {
                    len -= 1;
                }
                self.emit(Kind::Space, len);
            }
            '=' => self.emit(Kind::Assign, 1),
            ':' if rest[1..].starts_with('=') => self.emit(Kind::Declare, 2),
            ':' => return self.fail("expected :="),
            '|' => self.emit(Kind::Pipe, 1),
            ',' => self.emit(Kind::Comma, 1),
            '"' => self.string()?,
            '`' => match rest[1..].find('`') {
                Some(end) => self.emit(Kind::RawStr, end + 2),
                None => return self.fail("unterminated raw quoted string"),
            },
            '\'' => self.character()?,
            '$' => self.word_after_sign(Kind::Variable, Kind::Variable)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.word_after_sign(Kind::Field, Kind::Dot)?;
            }
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            c if is_word(c) => self.identifier()?,
            '(' => {
                self.parens += 1;
                self.emit(Kind::LeftParen, 1);
            }
            ')' => {
                let Some(parens) = self.parens.checked_sub(1) else {
                    return self.fail("unexpected right paren");
                };
                self.parens = parens;
                self.emit(Kind::RightParen, 1);
            }
            c if c.is_ascii() && !c.is_ascii_control() => self.emit(Kind::Char, 1),
            c => return self.fail(format!("unrecognized character in action: {}", unicode(c))),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Error> {
        let mut escaped = false;
        for (i, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.emit(Kind::Str, i + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.fail("unterminated quoted string")
    }

    fn character(&mut self) -> Result<(), Error> {
        let mut escaped = false;
        for (i, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\'' => {
                    self.emit(Kind::Number, i + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.fail("unterminated character constant")
    }

    fn word_after_sign(&mut self, named: Kind, bare: Kind) -> Result<(), Error> {
        let len = self.word_len(1);
        self.check_end(len)?;
        self.emit(if len == 1 { bare } else { named }, len);
        Ok(())
    }

    fn word_len(&self, start: usize) -> usize {
        let rest = &self.rest()[start..];
        start + rest.find(|c| !is_word(c)).unwrap_or(rest.len())
    }

    /// A word must be followed by a space or punctuation.
    fn check_end(&self, len: usize) -> Result<(), Error> {
        match self.rest()[len..].chars().next() {
            None => Ok(()),
            Some(c) if is_space(c) || matches!(c, '.' | ',' | '|' | ':' | ')' | '(' | '}' | '=') => Ok(()),
            Some(c) => self.fail(format!("bad character {}", unicode(c))),
        }
    }

    fn identifier(&mut self) -> Result<(), Error> {
        let len = self.word_len(0);
        self.check_end(len)?;
        let word = &self.rest()[..len];
        let kind = match word {
            "true" | "false" => Kind::Bool,
            "with" => Kind::Keyword,
            w if KEYWORDS.contains(&w) => Kind::Keyword,
            _ => Kind::Identifier,
        };
        self.emit(kind, len);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let mut len = usize::from(rest.starts_with(['+', '-']));
        let hex = rest[len..].starts_with("0x") || rest[len..].starts_with("0X");
        let bytes = rest.as_bytes();
        while let Some(&b) = bytes.get(len) {
            let exponent = |e: u8| len > 0 && bytes[len - 1].eq_ignore_ascii_case(&e);
            let sign = matches!(b, b'+' | b'-') && (exponent(b'p') || (!hex && exponent(b'e')));
            if !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_') || sign) {
                break;
            }
            len += 1;
        }
        self.emit(Kind::Number, len.max(1));
        Ok(())
    }
}

fn starts_with_trim_marker(after_delim: &str) -> bool {
    let mut chars = after_delim.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

/// A character as Go's `%#U` prints it.
pub fn unicode(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}
