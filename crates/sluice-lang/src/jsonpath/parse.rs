//! From text to the steps of a path.

use serde_json::Value;

use super::{Block, Filter, JsonPathError, Node, Slice};

/// Longest text of a path.
const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Most ranges within each other.
const MAX_RANGES: usize = 16;

type Parsed<T> = Result<T, JsonPathError>;

fn refuse<T>(message: impl Into<String>) -> Parsed<T> {
    Err(JsonPathError::new(message))
}

/// Reads a path.
pub fn parse(text: &str) -> Parsed<Vec<Block>> {
    if text.len() > MAX_TEXT_BYTES {
        return refuse(format!("path has {} bytes, must have at most {MAX_TEXT_BYTES}", text.len()));
    }
    let mut parser = Parser { text, at: 0 };
    // Open ranges, outermost first: what is ranged over, and the blocks before it.
    let mut open: Vec<(Vec<Node>, Vec<Block>)> = Vec::new();
    let mut blocks = Vec::new();
    while !parser.rest().is_empty() {
        let plain = parser.rest().find('{').unwrap_or(parser.rest().len());
        if plain > 0 {
            blocks.push(Block::Text(parser.rest()[..plain].to_owned()));
            parser.at += plain;
            continue;
        }
        let mut action = parser.action()?;
        let is = |word: &str| action.iter().any(|node| matches!(node, Node::Word(known) if known == word));
        if is("range") {
            if open.len() >= MAX_RANGES {
                return refuse(format!("more than {MAX_RANGES} ranges within each other"));
            }
            action.retain(|node| !matches!(node, Node::Word(word) if word == "range"));
            open.push((action, std::mem::take(&mut blocks)));
        } else if is("end") {
            let Some((over, before)) = open.pop() else {
                return refuse("not in range, nothing to end");
            };
            let body = std::mem::replace(&mut blocks, before);
            blocks.push(Block::Range(over, body));
        } else {
            blocks.push(Block::Action(action));
        }
    }
    // A range that is not closed ends with the text.
    while let Some((over, before)) = open.pop() {
        let body = std::mem::replace(&mut blocks, before);
        blocks.push(Block::Range(over, body));
    }
    Ok(blocks)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// `{…}`, of which the opening brace is next.
    fn action(&mut self) -> Parsed<Vec<Node>> {
        self.at += 1;
        let mut nodes = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with('}') {
                self.at += 1;
                return Ok(nodes);
            }
            if rest.starts_with("[?(") {
                nodes.push(self.filter()?);
                continue;
            }
            if rest.starts_with("..") {
                if nodes.last() == Some(&Node::Descent) {
                    return refuse("invalid multiple recursive descent");
                }
                self.at += 2;
                nodes.push(Node::Descent);
                if self.peek().is_some_and(|c| c == '_' || c.is_alphanumeric()) {
                    nodes.push(self.field());
                }
                continue;
            }
            match self.peek() {
                None | Some('\n' | '\r') => return refuse("unclosed action"),
                // The current object, whichever of the two names it.
                Some(' ' | '@' | '$') => {
                    self.next();
                }
                Some('[') => self.brackets(&mut nodes)?,
                Some(quote @ ('"' | '\'')) => nodes.push(self.quoted(quote)?),
                Some('.') => {
                    self.next();
                    nodes.push(self.field());
                }
                Some('+' | '-') => nodes.push(self.number()?),
                Some(c) if c.is_numeric() => nodes.push(self.number()?),
                Some(c) if c == '_' || c.is_alphabetic() => nodes.push(self.word()),
                Some(c) => {
                    return refuse(format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c)));
                }
            }
        }
    }

    fn word(&mut self) -> Node {
        let rest = self.rest();
        let length = rest.find(is_terminator).unwrap_or(rest.len());
        self.at += length;
        match &rest[..length] {
            "true" => Node::Literal(Value::Bool(true)),
            "false" => Node::Literal(Value::Bool(false)),
            word => Node::Word(word.to_owned()),
        }
    }

    /// A name up to the next terminator that has no backslash before it.
    fn field(&mut self) -> Node {
        let mut name = String::new();
        let start = self.at;
        while let Some(c) = self.peek() {
            if c == '\\' {
                self.next();
                if let Some(escaped) = self.next().filter(|escaped| *escaped != '\\') {
                    name.push(escaped);
                }
            } else if is_terminator(c) {
                break;
            } else {
                self.next();
                name.push(c);
            }
        }
        if &self.text[start..self.at] == "*" { Node::Wildcard } else { Node::Field(name) }
    }

    fn number(&mut self) -> Parsed<Node> {
        let rest = self.rest();
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let digits = unsigned.find(|c: char| c != '.' && !c.is_numeric()).unwrap_or(unsigned.len());
        let length = rest.len() - unsigned.len() + digits;
        self.at += length;
        let text = &rest[..length];
        let float = || text.parse::<f64>().ok().filter(|x| x.is_finite());
        match (text.parse::<i64>(), float()) {
            (Ok(integer), _) => Ok(Node::Literal(integer.into())),
            (_, Some(float)) => Ok(Node::Literal(float.into())),
            _ => refuse(format!("cannot parse number {text}")),
        }
    }

    /// `[…]` that is no filter.
    fn brackets(&mut self, nodes: &mut Vec<Node>) -> Parsed<()> {
        let rest = self.rest();
        let end = match rest.find([']', '\n']) {
            Some(end) if rest[end..].starts_with(']') => end,
            _ => return refuse("unterminated array"),
        };
        self.at += end + 1;
        let text = &rest[1..end];
        if text.contains(',') {
            let part = |part: &str| {
                let mut nodes = Vec::new();
                one_bracket(part.trim_matches(' '), &mut nodes)?;
                Ok(nodes)
            };
            nodes.push(Node::Union(text.split(',').map(part).collect::<Parsed<_>>()?));
            return Ok(());
        }
        one_bracket(text, nodes)
    }

    fn quoted(&mut self, quote: char) -> Parsed<Node> {
        let rest = self.rest();
        let mut escaped = false;
        for (place, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if c == quote && !escaped => {
                    self.at += place + 1;
                    return unquote(&rest[1..place], quote).map(Node::Text);
                }
                // As in the original, a backslash before a quote counts even if it is itself escaped.
                _ => escaped = c == '\\',
            }
        }
        refuse("unterminated quoted string")
    }

    fn filter(&mut self) -> Parsed<Node> {
        self.at += "[?(".len();
        let rest = self.rest();
        // The first quote and the next of its kind hide brackets.
        let (mut quote, mut is_closed, mut previous) = (None, false, ' ');
        let mut end = None;
        for (place, c) in rest.char_indices() {
            match (c, quote) {
                ('\n', _) => break,
                ('"' | '\'', None) => quote = Some(c),
                ('"' | '\'', Some(open)) if c == open && previous != '\\' => is_closed = true,
                (')', _) if quote.is_some() == is_closed => {
                    end = Some(place);
                    break;
                }
                _ => {}
            }
            previous = c;
        }
        let Some(end) = end else { return refuse("unterminated filter") };
        if !rest[end + 1..].starts_with(']') {
            return refuse("unclosed array expect ]");
        }
        self.at += end + 2;
        let text = &rest[..end];
        let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
        let split = text.find(is_operator).filter(|left| *left > 0).and_then(|left| {
            // Something has to be left to compare with, if need be the last character of the operator.
            let rest = text.len() - left;
            let operator = text[left..].find(|c| !is_operator(c)).unwrap_or(rest - 1);
            (operator > 0).then_some((&text[..left], &text[left..left + operator], &text[left + operator..]))
        });
        Ok(Node::Filter(match split {
            Some((left, operator, right)) => {
                Filter { left: steps(left)?, comparison: Some((operator.to_owned(), steps(right)?)) }
            }
            None => Filter { left: steps(text)?, comparison: None },
        }))
    }
}

/// Reads steps as if they stood within braces of their own.
fn steps(text: &str) -> Parsed<Vec<Node>> {
    Parser { text: &format!("{{{text}}}"), at: 0 }.action()
}

/// What stands between brackets: an index, a slice, or a name in quotes.
fn one_bracket(text: &str, nodes: &mut Vec<Node>) -> Parsed<()> {
    if let Some(name) = text.strip_prefix('\'').and_then(|name| name.strip_suffix('\''))
        && !name.contains('\'')
    {
        // The original reads the name as a path, so that a point in it separates.
        nodes.extend(steps(&format!(".{name}"))?);
        return Ok(());
    }
    let text = if text == "*" { ":" } else { text };
    let invalid = || JsonPathError::new(format!("invalid array index {text}"));
    let parts: Vec<&str> = text.split(':').collect();
    let is_number = |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|b| b.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return Err(invalid());
    }
    let number = |position: usize| match parts.get(position) {
        None | Some(&"") => Ok(None),
        Some(part) => match part.parse::<i64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => refuse(format!("array index {part} is not a number")),
        },
    };
    let from = number(0)?;
    let is_index = parts.len() == 1;
    let to = if is_index { Some(from.unwrap_or(0).saturating_add(1)) } else { number(1)? };
    nodes.push(Node::Slice(Slice { from, to, is_index, step: number(2)? }));
    Ok(())
}

fn is_terminator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

/// Undoes the escapes of a quoted string.
fn unquote(text: &str, quote: char) -> Parsed<String> {
    let mut value = String::new();
    let mut characters = text.chars();
    let invalid = || JsonPathError::new(format!("unquote string {quote}{text}{quote} error invalid syntax"));
    while let Some(c) = characters.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (radix, count) = match characters.next().ok_or_else(invalid)? {
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            digit @ '0'..='7' => {
                let rest: String = characters.by_ref().take(2).collect();
                let code = u32::from_str_radix(&format!("{digit}{rest}"), 8).map_err(|_| invalid())?;
                value.push(
                    char::from_u32(code).filter(|_| rest.len() == 2 && code < 256).ok_or_else(invalid)?,
                );
                continue;
            }
            simple => {
                value.push(match simple {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    '\\' => '\\',
                    _ if simple == quote => quote,
                    _ => return Err(invalid()),
                });
                continue;
            }
        };
        let digits: String = characters.by_ref().take(count).collect();
        let code = u32::from_str_radix(&digits, radix).ok().filter(|_| digits.len() == count);
        value.push(code.and_then(char::from_u32).ok_or_else(invalid)?);
    }
    Ok(value)
}
