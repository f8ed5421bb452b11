//! From text to tokens.
//!
//! Words decide as little as possible here: `true`, `nil` and function names are identifiers, and the
//! parser says what they mean. A mistake becomes the last token, so that it is reported only if the parser
//! gets that far, as a mistake further left deserves to be reported first.

use super::error::{Error, Span};
use crate::go_format::quote;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A name, also `true`, `false`, `nil`.
    Identifier,
    /// A number as it is written.
    Number,
    /// A string, already unescaped.
    String,
    /// An operator, also the words among them.
    Operator,
    /// One of `([{}])`.
    Bracket,
    /// The end of the text.
    End,
    /// A mistake; the token's text is its message.
    Mistake,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its text; of a string, what it stands for.
    pub text: String,
    /// Where it is.
    pub span: Span,
}

impl Token {
    /// Whether it is this operator.
    pub fn is_operator(&self, text: &str) -> bool {
        self.kind == TokenKind::Operator && self.text == text
    }

    /// Whether it is this bracket.
    pub fn is_bracket(&self, text: &str) -> bool {
        self.kind == TokenKind::Bracket && self.text == text
    }

    /// How messages name it: `Operator("=")`.
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            TokenKind::Identifier => "Identifier",
            TokenKind::Number => "Number",
            TokenKind::String => "String",
            TokenKind::Operator => "Operator",
            TokenKind::Bracket => "Bracket",
            TokenKind::End | TokenKind::Mistake => "EOF",
        };
        if self.text.is_empty() { kind.to_owned() } else { format!("{kind}({})", quote(&self.text)) }
    }
}

/// Whether a name may hold this character.
pub fn is_name_character(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphanumeric()
}

/// Cuts a text into tokens; the last one is the end or a mistake.
pub fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let last = match lexer.run() {
        Ok(()) => {
            let end = text.len();
            Token { kind: TokenKind::End, text: String::new(), span: Span::new(end, end) }
        }
        Err(error) => Token { kind: TokenKind::Mistake, text: error.message, span: error.span },
    };
    lexer.tokens.push(last);
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(c) = self.peek() {
            let start = self.at;
            match c {
                _ if c.is_whitespace() => {
                    self.next();
                }
                '\'' | '"' => self.string(c)?,
                '`' => self.raw_string()?,
                '0'..='9' => self.number()?,
                '/' => {
                    self.next();
                    if self.accept("/") {
                        self.take_while(|c| c != '\n');
                    } else if self.accept("*") {
                        let rest = &self.text[self.at..];
                        let Some(length) = rest.find("*/") else {
                            self.at = self.text.len();
                            return Err(self.mistake("unclosed comment"));
                        };
                        self.at += length + 2;
                    } else {
                        self.push(TokenKind::Operator, start);
                    }
                }
                '?' => self.operator(".?"),
                '|' => self.operator("|"),
                ':' => self.operator(":"),
                '&' | '!' | '=' | '*' | '<' | '>' => self.operator("&=*"),
                ',' | ';' | '%' | '+' | '-' | '^' => self.operator(""),
                '.' => {
                    if self.text[self.at + 1..].starts_with(|c: char| c.is_ascii_digit()) {
                        self.number()?;
                    } else {
                        self.operator(".");
                    }
                }
                '#' => {
                    self.operator("#");
                    let start = self.at;
                    self.take_while(is_name_character);
                    if self.at > start {
                        self.push(TokenKind::Identifier, start);
                    }
                }
                '(' | '[' | '{' | ')' | ']' | '}' => {
                    self.next();
                    self.push(TokenKind::Bracket, start);
                }
                _ if is_name_character(c) => {
                    self.take_while(is_name_character);
                    let kind = match &self.text[start..self.at] {
                        "b" | "B" if matches!(self.peek(), Some('\'' | '"')) => {
                            return Err(self.mistake("byte literals are not supported"));
                        }
                        "not" | "in" | "or" | "and" | "matches" | "contains" | "startsWith" | "endsWith"
                        | "let" | "if" | "else" => TokenKind::Operator,
                        _ => TokenKind::Identifier,
                    };
                    self.push(kind, start);
                }
                _ => {
                    self.next();
                    let code = u32::from(c);
                    return Err(self.mistake(&format!("unrecognized character: U+{code:04X} '{c}'")));
                }
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, characters: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| characters.contains(c));
        if accepted {
            self.next();
        }
        accepted
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let text = self.text[start..self.at].to_owned();
        self.tokens.push(Token { kind, text, span: Span::new(start, self.at) });
    }

    /// An operator of one character that may be followed by one of `more`.
    fn operator(&mut self, more: &str) {
        let start = self.at;
        self.next();
        self.accept(more);
        self.push(TokenKind::Operator, start);
    }

    fn mistake(&self, message: &str) -> Error {
        Error::new(message, Span::new(self.at.saturating_sub(1), self.at))
    }

    fn number(&mut self) -> Result<(), Error> {
        let start = self.at;
        let mut is_digit: fn(char) -> bool = |c| c.is_ascii_digit() || c == '_';
        if self.accept("0") {
            if self.accept("xX") {
                is_digit = |c| c.is_ascii_hexdigit() || c == '_';
            } else if self.accept("oO") {
                is_digit = |c| ('0'..='7').contains(&c) || c == '_';
            } else if self.accept("bB") {
                is_digit = |c| matches!(c, '0' | '1' | '_');
            }
        }
        self.take_while(is_digit);
        // Two points are a range: `1..3`.
        if !self.text[self.at..].starts_with("..") {
            if self.accept(".") {
                self.take_while(is_digit);
            }
            if self.accept("eE") {
                self.accept("+-");
                self.take_while(is_digit);
            }
            if self.peek().is_some_and(is_name_character) {
                self.next();
                let word = quote(&self.text[start..self.at]);
                return Err(self.mistake(&format!("bad number syntax: {word}")));
            }
        }
        self.push(TokenKind::Number, start);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Error> {
        let start = self.at;
        self.next();
        let mut value = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.mistake("literal not terminated")),
                Some('\\') => value.push(self.escape(quote)?),
                // All ways to end a line read as one.
                Some('\r') => value.push('\n'),
                Some(c) if c == quote => break,
                Some(c) => value.push(c),
            }
        }
        self.tokens.push(Token { kind: TokenKind::String, text: value, span: Span::new(start, self.at) });
        Ok(())
    }

    fn escape(&mut self, quote: char) -> Result<char, Error> {
        let code = match self.next() {
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('v') => 11,
            Some('\\') => u32::from('\\'),
            Some(c) if c == quote => u32::from(c),
            Some(c @ '0'..='3') => (u32::from(c) - u32::from('0')) * 64 + self.digits(8, 2)?,
            Some('x') => self.digits(16, 2)?,
            Some('u') if self.peek() == Some('{') => {
                self.next();
                let start = self.at;
                self.take_while(|c| c.is_ascii_hexdigit());
                let digits = &self.text[start..self.at];
                let code = (digits.len() <= 6).then(|| u32::from_str_radix(digits, 16).ok()).flatten();
                let closed = self.next() == Some('}');
                code.filter(|_| closed).ok_or_else(|| self.mistake("invalid char escape"))?
            }
            Some('u') => self.digits(16, 4)?,
            Some('U') => self.digits(16, 8)?,
            _ => return Err(self.mistake("invalid char escape")),
        };
        if code > u32::from(char::MAX) {
            return Err(self.mistake("unable to unescape string"));
        }
        // Half of a surrogate pair is no character.
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn digits(&mut self, radix: u32, count: usize) -> Result<u32, Error> {
        let mut code: u32 = 0;
        for _ in 0..count {
            let digit = self.next().and_then(|c| c.to_digit(radix));
            let digit = digit.ok_or_else(|| self.mistake("invalid char escape"))?;
            code = code.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(code)
    }

    fn raw_string(&mut self) -> Result<(), Error> {
        let start = self.at;
        self.next();
        let mut value = String::new();
        loop {
            match self.next() {
                None => return Err(self.mistake("literal not terminated")),
                // Two backticks stand for one.
                Some('`') if self.accept("`") => value.push('`'),
                Some('`') => break,
                Some(c) => value.push(c),
            }
        }
        self.tokens.push(Token { kind: TokenKind::String, text: value, span: Span::new(start, self.at) });
        Ok(())
    }
}
