//! From tokens to a tree.
//!
//! Operators are read by precedence. Depth and size of the tree are bounded here, once, so that nothing
//! that walks over it has to care.

use std::sync::Arc;

use super::ast::{Binary, Comparison, Kind, Node, Unary};
use super::builtins::{Argument, Builtin};
use super::error::{Error, Span};
use super::lex::{Token, TokenKind, is_name_character, lex};
use super::pattern;
use super::value::Function;

/// Longest text of an expression.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most nodes of an expression; the limit of the original.
const MAX_NODES: usize = 10_000;
/// Deepest nesting. The original has no such limit and needs none, because its stack grows.
const MAX_HEIGHT: u16 = 250;

/// Reads an expression.
pub fn parse(text: &str) -> Result<Node, Error> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("expression has {} bytes, must have at most {MAX_TEXT_BYTES}", text.len());
        return Err(Error::new(message, Span::new(0, 0)));
    }
    let mut parser = Parser { tokens: lex(text), at: 0, predicates: 0, nodes: 0, depth: 0 };
    let node = parser.sequence()?;
    if parser.token().kind != TokenKind::End {
        return Err(parser.unexpected());
    }
    Ok(node)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// How many predicates we are in; `#` and `.x` mean something only there.
    predicates: u32,
    nodes: usize,
    depth: u16,
}

type Parsed = Result<Node, Error>;

const LOWEST: u16 = 0;
const PREDICATE_COMPARISON: u16 = 20;

/// Precedence of what stands between two values, and whether it groups to the right.
fn precedence(token: &Token) -> Option<(u16, bool)> {
    if token.kind != TokenKind::Operator {
        return None;
    }
    Some(match token.text.as_str() {
        "|" => (0, false),
        "or" | "||" => (10, false),
        "and" | "&&" => (15, false),
        "==" | "!=" | "<" | ">" | ">=" | "<=" | "in" | "matches" | "contains" | "startsWith" | "endsWith" => {
            (PREDICATE_COMPARISON, false)
        }
        ".." => (25, false),
        "+" | "-" => (30, false),
        "*" | "/" | "%" => (60, false),
        "**" | "^" => (100, true),
        "??" => (500, false),
        _ => return None,
    })
}

fn unary(token: &Token) -> Option<(Unary, u16)> {
    if token.kind != TokenKind::Operator {
        return None;
    }
    Some(match token.text.as_str() {
        "not" => (Unary::Not, 50),
        "!" => (Unary::Exclamation, 50),
        "-" => (Unary::Minus, 90),
        "+" => (Unary::Plus, 90),
        _ => return None,
    })
}

fn comparison(token: &Token) -> Option<Comparison> {
    if token.kind != TokenKind::Operator {
        return None;
    }
    Some(match token.text.as_str() {
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// Operators that may follow `not`: `x not in y`.
fn can_be_negated(token: &Token) -> bool {
    ["in", "matches", "contains", "startsWith", "endsWith"].iter().any(|text| token.is_operator(text))
}

impl Parser {
    fn token(&self) -> &Token {
        // The last token is the end or a mistake, and nothing goes past it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn following(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Result<Token, Error> {
        let token = self.token().clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        } else if token.kind == TokenKind::End {
            return Err(Error::new("unexpected end of expression", token.span));
        }
        match self.token().kind {
            TokenKind::Mistake => Err(self.unexpected()),
            _ => Ok(token),
        }
    }

    fn unexpected(&self) -> Error {
        let token = self.token();
        match token.kind {
            TokenKind::Mistake => Error::new(token.text.clone(), token.span),
            _ => Error::new(format!("unexpected token {}", token.describe()), token.span),
        }
    }

    fn expect_operator(&mut self, text: &str) -> Result<Token, Error> {
        if self.token().is_operator(text) { self.next() } else { Err(self.unexpected()) }
    }

    fn expect_bracket(&mut self, text: &str) -> Result<Token, Error> {
        if self.token().is_bracket(text) { self.next() } else { Err(self.unexpected()) }
    }

    fn expect_name(&mut self) -> Result<Token, Error> {
        if self.token().kind == TokenKind::Identifier { self.next() } else { Err(self.unexpected()) }
    }

    fn node(&mut self, kind: Kind, span: Span) -> Parsed {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Error::new("compilation failed: expression exceeds maximum allowed nodes", span));
        }
        let height = kind.height_below().saturating_add(1);
        if height > MAX_HEIGHT {
            return Err(too_deep(span));
        }
        Ok(Node { kind, span, height })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= MAX_HEIGHT {
            return Err(too_deep(self.token().span));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// `a; b; c`, with its own start as place.
    fn sequence(&mut self) -> Parsed {
        let first = self.expression(LOWEST)?;
        if !self.token().is_operator(";") {
            return Ok(first);
        }
        let span = first.span;
        let mut nodes = vec![first];
        while self.token().is_operator(";") {
            self.next()?;
            if self.token().kind == TokenKind::End {
                break;
            }
            nodes.push(self.expression(LOWEST)?);
        }
        if nodes.len() == 1 {
            return nodes.pop().ok_or_else(|| self.unexpected());
        }
        self.node(Kind::Sequence(nodes), span)
    }

    fn expression(&mut self, lowest: u16) -> Parsed {
        self.deeper(|parser| parser.expression_here(lowest))
    }

    fn expression_here(&mut self, lowest: u16) -> Parsed {
        if lowest == LOWEST && self.token().is_operator("let") {
            return self.declaration();
        }
        if lowest == LOWEST && self.token().is_operator("if") {
            return self.condition();
        }
        let mut left = self.primary()?;
        let mut after_coalesce = false;
        loop {
            let is_negated = self.token().is_operator("not");
            let operator = if is_negated { self.following() } else { self.token() }.clone();
            if is_negated && !can_be_negated(&operator) {
                self.next()?;
                return Err(self.unexpected());
            }
            let Some((binds, to_the_right)) = precedence(&operator) else { break };
            if binds < lowest {
                break;
            }
            if is_negated {
                self.next()?;
            }
            self.next()?;
            if operator.text == "|" {
                let name = self.expect_name()?;
                left = self.call(name, vec![left])?;
                after_coalesce = false;
                continue;
            }
            if after_coalesce && operator.text != "??" {
                let text = &operator.text;
                let message = format!(
                    "Operator ({text}) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses."
                );
                return Err(Error::new(message, operator.span));
            }
            after_coalesce = operator.text == "??";
            if let Some(first) = comparison(&operator) {
                left = self.comparisons(left, first, operator.span)?;
                continue;
            }
            let right = self.expression(if to_the_right { binds } else { binds + 1 })?;
            left = self.binary(&operator, left, right)?;
            if is_negated {
                left = self.node(Kind::Unary(Unary::Not, Box::new(left)), operator.span)?;
            }
        }
        if lowest == LOWEST {
            left = self.ternary(left)?;
        }
        Ok(left)
    }

    fn binary(&mut self, operator: &Token, left: Node, right: Node) -> Parsed {
        let (left, right) = (Box::new(left), Box::new(right));
        let binary = match operator.text.as_str() {
            "or" | "||" => Binary::Or { word: operator.text == "or" },
            "and" | "&&" => Binary::And { word: operator.text == "and" },
            "==" => Binary::Equal,
            "!=" => Binary::NotEqual,
            "in" => Binary::In,
            "contains" => Binary::Contains,
            "startsWith" => Binary::StartsWith,
            "endsWith" => Binary::EndsWith,
            ".." => Binary::Range,
            "+" => Binary::Add,
            "-" => Binary::Subtract,
            "*" => Binary::Multiply,
            "/" => Binary::Divide,
            "%" => Binary::Modulo,
            "**" | "^" => Binary::Power { caret: operator.text == "^" },
            "??" => Binary::Coalesce,
            _ => {
                let compiled = match &right.kind {
                    Kind::String(pattern) => Some(pattern::compile(pattern)),
                    _ => None,
                };
                return self.node(Kind::Matches(left, right, compiled), operator.span);
            }
        };
        self.node(Kind::Binary(binary, left, right), operator.span)
    }

    /// `< b <= c …` after `a`.
    fn comparisons(&mut self, first: Node, operator: Comparison, span: Span) -> Parsed {
        let mut rest = vec![(operator, self.expression(PREDICATE_COMPARISON + 1)?)];
        while let Some(operator) = comparison(self.token()) {
            self.next()?;
            rest.push((operator, self.expression(PREDICATE_COMPARISON + 1)?));
        }
        self.node(Kind::Compare(Box::new(first), rest), span)
    }

    fn declaration(&mut self) -> Parsed {
        self.expect_operator("let")?;
        let name = self.expect_name()?;
        self.expect_operator("=")?;
        let value = self.expression(LOWEST)?;
        self.expect_operator(";")?;
        let body = self.sequence()?;
        self.node(Kind::Let(name.text.into(), Box::new(value), Box::new(body)), name.span)
    }

    fn condition(&mut self) -> Parsed {
        let start = self.next()?.span;
        let condition = self.expression(LOWEST)?;
        self.expect_bracket("{")?;
        let then = self.sequence()?;
        self.expect_bracket("}")?;
        self.expect_operator("else")?;
        let otherwise = if self.token().is_operator("if") {
            self.deeper(Self::condition)?
        } else {
            self.expect_bracket("{")?;
            let otherwise = self.sequence()?;
            self.expect_bracket("}")?;
            otherwise
        };
        let kind = Kind::Conditional(Box::new(condition), Some(Box::new(then)), Box::new(otherwise));
        self.node(kind, start)
    }

    fn ternary(&mut self, mut node: Node) -> Parsed {
        while self.token().is_operator("?") {
            let span = self.next()?.span;
            let then = if self.token().is_operator(":") { None } else { Some(self.expression(LOWEST)?) };
            self.expect_operator(":")?;
            let otherwise = self.expression(LOWEST)?;
            let kind = Kind::Conditional(Box::new(node), then.map(Box::new), Box::new(otherwise));
            node = self.node(kind, span)?;
        }
        Ok(node)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.token().clone();
        if let Some((operator, binds)) = unary(&token) {
            self.next()?;
            let operand = self.expression(binds)?;
            let node = self.node(Kind::Unary(operator, Box::new(operand)), token.span)?;
            return self.postfix(node);
        }
        if token.is_bracket("(") {
            self.next()?;
            let node = self.sequence()?;
            self.expect_bracket(")")?;
            return self.postfix(node);
        }
        if self.predicates > 0 && (token.is_operator("#") || token.is_operator(".")) {
            let mut name: Arc<str> = "".into();
            if token.is_operator("#") {
                self.next()?;
                if self.token().kind == TokenKind::Identifier {
                    name = self.next()?.text.into();
                }
            }
            let node = self.node(Kind::Pointer(name), token.span)?;
            return self.postfix(node);
        }
        if token.is_operator("::") {
            self.next()?;
            let name = self.expect_name()?;
            let node = self.call(name, Vec::new())?;
            return self.postfix(node);
        }
        self.secondary(token)
    }

    fn secondary(&mut self, token: Token) -> Parsed {
        let span = token.span;
        let node = match token.kind {
            TokenKind::Identifier => {
                self.next()?;
                match token.text.as_str() {
                    // Nothing can be looked up in these, so that `true.x` is no expression.
                    "true" => return self.node(Kind::Bool(true), span),
                    "false" => return self.node(Kind::Bool(false), span),
                    "nil" => return self.node(Kind::Nil, span),
                    _ if self.token().is_bracket("(") => self.call(token, Vec::new())?,
                    _ => self.name(token)?,
                }
            }
            TokenKind::Number => {
                self.next()?;
                let kind = number(&token.text).map_err(|message| Error::new(message, self.token().span))?;
                return self.node(kind, span);
            }
            TokenKind::String => {
                self.next()?;
                self.node(Kind::String(token.text.into()), span)?
            }
            TokenKind::Bracket if token.text == "[" => self.array()?,
            TokenKind::Bracket if token.text == "{" => self.map()?,
            _ => return Err(self.unexpected()),
        };
        self.postfix(node)
    }

    fn name(&mut self, token: Token) -> Parsed {
        let kind = match token.text.as_str() {
            "result" => Kind::Result,
            "$env" => Kind::Env,
            text => match Function::ALL.into_iter().find(|function| function.name() == text) {
                Some(function) => Kind::Function(function),
                None => Kind::Name(token.text.into()),
            },
        };
        self.node(kind, token.span)
    }

    fn call(&mut self, name: Token, mut arguments: Vec<Node>) -> Parsed {
        let span = name.span;
        let Some(builtin) = Builtin::named(&name.text) else {
            let callee = self.name(name)?;
            self.arguments(&mut arguments)?;
            if matches!(callee.kind, Kind::Function(Function::IsNan | Function::IsInf)) {
                arguments.iter_mut().for_each(integers_to_floats);
            }
            return self.node(Kind::Call(Box::new(callee), arguments), span);
        };
        let Some(wanted) = builtin.predicate_arguments() else {
            self.arguments(&mut arguments)?;
            return self.node(Kind::Builtin(builtin, arguments), span);
        };
        self.expect_bracket("(")?;
        // The left side of a pipe is the first argument.
        let wanted = wanted.get(arguments.len()..).unwrap_or_default();
        for (position, argument) in wanted.iter().enumerate() {
            if self.token().is_bracket(")") {
                if argument.is_optional() {
                    break;
                }
                let message = format!("expected at least {} arguments", wanted.len());
                return Err(Error::new(message, self.token().span));
            }
            if position > 0 {
                self.expect_operator(",")?;
                // A comma may end the list.
                if argument.is_optional() && self.token().is_bracket(")") {
                    break;
                }
            }
            let node = match argument {
                Argument::Predicate { .. } => self.predicate()?,
                Argument::Value { .. } => self.expression(LOWEST)?,
            };
            arguments.push(node);
        }
        if self.token().is_operator(",") {
            self.next()?;
        }
        self.expect_bracket(")")?;
        self.node(Kind::Builtin(builtin, arguments), span)
    }

    fn arguments(&mut self, arguments: &mut Vec<Node>) -> Result<(), Error> {
        let given = arguments.len();
        self.expect_bracket("(")?;
        while !self.token().is_bracket(")") {
            if arguments.len() > given {
                self.expect_operator(",")?;
            }
            if self.token().is_bracket(")") {
                break;
            }
            arguments.push(self.expression(LOWEST)?);
        }
        self.expect_bracket(")")?;
        Ok(())
    }

    fn predicate(&mut self) -> Parsed {
        let span = self.token().span;
        let has_brackets = self.token().is_bracket("{");
        if has_brackets {
            self.next()?;
        }
        self.predicates += 1;
        let node = if has_brackets {
            self.sequence()?
        } else {
            let node = self.expression(LOWEST)?;
            if self.token().is_operator(";") {
                return Err(Error::new("wrap predicate with brackets { and }", self.token().span));
            }
            node
        };
        self.predicates -= 1;
        if has_brackets {
            self.expect_bracket("}")?;
        }
        self.node(Kind::Predicate(Box::new(node)), span)
    }

    fn array(&mut self) -> Parsed {
        let span = self.expect_bracket("[")?.span;
        let mut nodes = Vec::new();
        while !self.token().is_bracket("]") {
            if !nodes.is_empty() {
                self.expect_operator(",")?;
                if self.token().is_bracket("]") {
                    break;
                }
            }
            nodes.push(self.expression(LOWEST)?);
        }
        self.expect_bracket("]")?;
        self.node(Kind::Array(nodes), span)
    }

    fn map(&mut self) -> Parsed {
        let span = self.expect_bracket("{")?.span;
        let mut pairs = Vec::new();
        while !self.token().is_bracket("}") {
            if !pairs.is_empty() {
                self.expect_operator(",")?;
                if self.token().is_bracket("}") {
                    break;
                }
            }
            let token = self.token().clone();
            let key = match token.kind {
                TokenKind::Number | TokenKind::String | TokenKind::Identifier => {
                    self.next()?;
                    self.node(Kind::String(token.text.into()), token.span)?
                }
                TokenKind::Bracket if token.text == "(" => self.expression(LOWEST)?,
                TokenKind::Mistake => return Err(self.unexpected()),
                _ => {
                    let message = format!(
                        "a map key must be a quoted string, a number, a identifier, or an expression enclosed \
                         in parentheses (unexpected token {})",
                        token.describe()
                    );
                    return Err(Error::new(message, token.span));
                }
            };
            self.expect_operator(":")?;
            pairs.push((key, self.expression(LOWEST)?));
            // The pair is a node of its own where nodes are counted.
            self.nodes += 1;
        }
        self.expect_bracket("}")?;
        self.node(Kind::Map(pairs), span)
    }

    fn postfix(&mut self, mut node: Node) -> Parsed {
        loop {
            let token = self.token().clone();
            let is_optional = token.is_operator("?.");
            if is_optional && self.following().is_bracket("[") {
                self.next()?;
                node = self.index(node, true)?;
            } else if is_optional || token.is_operator(".") {
                self.next()?;
                node = self.member(node, is_optional)?;
            } else if token.is_bracket("[") {
                node = self.index(node, false)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn member(&mut self, base: Node, optional: bool) -> Parsed {
        let name = self.token().clone();
        let is_word = name.text.chars().all(is_name_character)
            && name.text.starts_with(|c: char| is_name_character(c) && !c.is_numeric());
        // Words such as `not` and `in` are good names for members.
        if !(name.kind == TokenKind::Identifier || name.kind == TokenKind::Operator && is_word) {
            return Err(match name.kind {
                TokenKind::Mistake => self.unexpected(),
                TokenKind::End => Error::new("unexpected end of expression", name.span),
                _ => Error::new("expected name", self.following().span),
            });
        }
        self.next()?;
        let span = name.span;
        let key = Box::new(self.node(Kind::String(name.text.into()), span)?);
        // `?.` cuts short everything that follows it without a bracket.
        let (base, is_chain) = match base.kind {
            Kind::Chain(inner) => (inner, true),
            kind => (Box::new(Node { kind, ..base }), false),
        };
        let called = self.token().is_bracket("(");
        let mut node = self.node(Kind::Member { base, key, optional, called }, span)?;
        if called {
            let mut arguments = Vec::new();
            self.arguments(&mut arguments)?;
            node = self.node(Kind::Call(Box::new(node), arguments), span)?;
        }
        if is_chain || optional {
            node = self.node(Kind::Chain(Box::new(node)), span)?;
        }
        Ok(node)
    }

    fn index(&mut self, base: Node, optional: bool) -> Parsed {
        let span = self.expect_bracket("[")?.span;
        let base = Box::new(base);
        let from = if self.token().is_operator(":") { None } else { Some(self.expression(LOWEST)?) };
        if self.token().is_operator(":") {
            self.next()?;
            let to = if self.token().is_bracket("]") { None } else { Some(self.expression(LOWEST)?) };
            self.expect_bracket("]")?;
            return self.node(Kind::Slice(base, from.map(Box::new), to.map(Box::new)), span);
        }
        let Some(key) = from else { return Err(self.unexpected()) };
        self.expect_bracket("]")?;
        let node = self.node(Kind::Member { base, key: Box::new(key), optional, called: false }, span)?;
        if optional { self.node(Kind::Chain(Box::new(node)), span) } else { Ok(node) }
    }
}

fn too_deep(span: Span) -> Error {
    Error::new(format!("expression is nested more than {MAX_HEIGHT} levels deep"), span)
}

/// Integers that are written out where only a float fits are floats: `isNaN(5)`.
fn integers_to_floats(node: &mut Node) {
    match &mut node.kind {
        Kind::Int(x) => node.kind = Kind::Float(*x as f64),
        Kind::Unary(_, operand) => integers_to_floats(operand),
        Kind::Binary(Binary::Add | Binary::Subtract | Binary::Multiply, left, right) => {
            integers_to_floats(left);
            integers_to_floats(right);
        }
        _ => {}
    }
}

fn number(text: &str) -> Result<Kind, String> {
    let digits = text.replace('_', "");
    let lower = digits.to_lowercase();
    let radix = [("0x", 16, "hex"), ("0b", 2, "binary"), ("0o", 8, "octal")];
    let integer = |digits: &str, radix, name| {
        i64::from_str_radix(digits, radix).map(Kind::Int).map_err(|error| {
            let reason = match error.kind() {
                std::num::IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            format!("invalid {name} literal: strconv.ParseInt: parsing \"{text}\": {reason}")
        })
    };
    for (prefix, radix, name) in radix {
        // An `e` or a point makes a float of anything but hexadecimal digits, and then not of these.
        if let Some(digits) = lower.strip_prefix(prefix)
            && (radix == 16 || !lower.contains(['.', 'e']))
        {
            return integer(digits, radix, name);
        }
    }
    if !lower.contains(['.', 'e']) {
        return integer(&lower, 10, "integer");
    }
    match lower.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Kind::Float(x)),
        Ok(_) => {
            Err(format!("invalid float literal: strconv.ParseFloat: parsing \"{text}\": value out of range"))
        }
        Err(_) => {
            Err(format!("invalid float literal: strconv.ParseFloat: parsing \"{text}\": invalid syntax"))
        }
    }
}
