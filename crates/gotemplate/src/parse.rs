//! Tokens -> tree, with Go's words for what is wrong.
use crate::MAX_DEPTH;
use crate::error::Error;
use crate::function;
use crate::lex::{self, Kind, Token};
use crate::node::{Branch, Command, Node, Operand, OperandKind, Pipe, Tree};
use std::collections::HashMap;

pub fn parse(text: &str) -> Result<Tree, Error> {
    let tokens = lex::tokens(text)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        variables: vec!["$".to_owned()],
        depth: 0,
        range_depth: 0,
        defined: HashMap::new(),
    };
    let (root, end) = parser.list(true)?;
    if let End::Keyword(word) = end {
        return parser.fail(format!("unexpected {{{{{word}}}}}"));
    }
    Ok(Tree { text: text.to_owned(), root, defined: parser.defined })
}

/// What ended a list of nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Eof,
    Keyword(&'static str),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    depth: usize,
    range_depth: usize,
    defined: HashMap<String, Vec<Node>>,
}

type Result2<T> = Result<T, Error>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
    fn peek_non_space(&mut self) -> &Token {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.peek()
    }
    fn next_non_space(&mut self) -> Token {
        self.peek_non_space();
        self.next()
    }
    fn fail<T>(&self, message: impl Into<String>) -> Result2<T> {
        let last = self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].line;
        Err(Error::parse(last, message.into()))
    }
    fn unexpected<T>(&self, token: &Token, context: &str) -> Result2<T> {
        Err(Error::parse(token.line, format!("unexpected {} in {context}", describe(token))))
    }
    fn enter(&mut self) -> Result2<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail("template is nested too deeply") } else { Ok(()) }
    }

    /// Nodes up to the end of the text, or to `end` or `else` (consumed, its closing delimiter not).
    fn list(&mut self, top: bool) -> Result2<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Eof if top => return Ok((nodes, End::Eof)),
                Kind::Eof => return Err(Error::parse(token.line, "unexpected EOF".into())),
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::LeftDelim => {
                    let word = self.peek_non_space().clone();
                    match (&word.kind, word.text.as_str()) {
                        (Kind::Keyword, "end") => {
                            self.next();
                            return Ok((nodes, End::Keyword("end")));
                        }
                        (Kind::Keyword, "else") => {
                            self.next();
                            return Ok((nodes, End::Keyword("else")));
                        }
                        (Kind::Keyword, "define") if top && self.depth == 0 => {
                            self.next();
                            self.definition()?;
                        }
                        _ => nodes.push(self.action()?),
                    }
                }
                _ => return self.unexpected(&token, "input"),
            }
        }
    }

    fn action(&mut self) -> Result2<Node> {
        let token = self.peek_non_space().clone();
        if token.kind == Kind::Keyword {
            self.next();
            match token.text.as_str() {
                "if" => return self.branch("if").map(Node::If),
                "with" => return self.branch("with").map(Node::With),
                "range" => return self.branch("range").map(Node::Range),
                "template" => return self.call(),
                "block" => return self.block(),
                "break" | "continue" => return self.jump(&token),
                "nil" => self.at -= 1,
                _ => return self.unexpected(&token, "command"),
            }
        }
        let pipe = self.pipeline("command", Kind::RightDelim)?;
        Ok(Node::Action(pipe))
    }

    fn jump(&mut self, token: &Token) -> Result2<Node> {
        let word = token.text.clone();
        let end = self.next_non_space();
        if end.kind != Kind::RightDelim {
            return self.unexpected(&end, &format!("{{{{{word}}}}}"));
        }
        if self.range_depth == 0 {
            return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(if word == "break" { Node::Break } else { Node::Continue })
    }

    fn branch(&mut self, name: &'static str) -> Result2<Branch> {
        self.enter()?;
        let mark = self.variables.len();
        let pipe = self.pipeline(name, Kind::RightDelim)?;
        let in_range = usize::from(name == "range");
        self.range_depth += in_range;
        let (body, end) = self.list(false)?;
        self.range_depth -= in_range;
        let otherwise = if end == End::Keyword("else") { self.otherwise(name)? } else { Vec::new() };
        if end == End::Keyword("end") {
            self.close("end")?;
        }
        self.variables.truncate(mark);
        self.depth -= 1;
        Ok(Branch { pipe, body, otherwise })
    }

    /// After `else`: `{{else if ...}}`, `{{else with ...}}` or a plain list.
    fn otherwise(&mut self, name: &'static str) -> Result2<Vec<Node>> {
        let token = self.peek_non_space().clone();
        if token.kind == Kind::Keyword && token.text == name && name != "range" {
            self.next();
            let inner = self.branch(name)?;
            return Ok(vec![if name == "if" { Node::If(inner) } else { Node::With(inner) }]);
        }
        self.close("else")?;
        let (nodes, end) = self.list(false)?;
        if end == End::Keyword("else") {
            return self.fail("expected end; found {{else}}");
        }
        self.close("end")?;
        Ok(nodes)
    }

    fn close(&mut self, context: &str) -> Result2<()> {
        let token = self.next_non_space();
        if token.kind == Kind::RightDelim { Ok(()) } else { self.unexpected(&token, context) }
    }

    fn template_name(&mut self, context: &str) -> Result2<String> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Str | Kind::RawStr => self.unquoted(&token),
            _ => self.unexpected(&token, context),
        }
    }

    fn definition(&mut self) -> Result2<()> {
        let name = self.template_name("define clause")?;
        self.close("define clause")?;
        self.body_of(name, "define clause")
    }

    fn body_of(&mut self, name: String, context: &str) -> Result2<()> {
        self.enter()?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.range_depth);
        let (nodes, end) = self.list(false)?;
        if end != End::Keyword("end") {
            return self.fail(format!("unexpected {{{{else}}}} in {context}"));
        }
        self.close("end")?;
        self.variables = outer;
        self.range_depth = ranges;
        self.depth -= 1;
        self.defined.insert(name, nodes);
        Ok(())
    }

    fn call(&mut self) -> Result2<Node> {
        let pos = self.peek_non_space().pos;
        let name = self.template_name("template clause")?;
        let pipe = if self.peek_non_space().kind == Kind::RightDelim {
            self.next();
            None
        } else {
            Some(self.pipeline("template clause", Kind::RightDelim)?)
        };
        Ok(Node::Template { name, pipe, pos })
    }

    fn block(&mut self) -> Result2<Node> {
        let pos = self.peek_non_space().pos;
        let name = self.template_name("block clause")?;
        let pipe = self.pipeline("block clause", Kind::RightDelim)?;
        self.body_of(name.clone(), "block clause")?;
        Ok(Node::Template { name, pipe: Some(pipe), pos })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result2<Pipe> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, assign: false, variables: Vec::new(), commands: Vec::new() };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.next_non_space();
            if token.kind == end {
                self.check_pipeline(&pipe, context)?;
                return Ok(pipe);
            }
            match token.kind {
                Kind::Bool
                | Kind::Number
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Str
                | Kind::RawStr
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                Kind::Keyword if token.text == "nil" => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
    }

    fn check_pipeline(&self, pipe: &Pipe, context: &str) -> Result2<()> {
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            let literal = matches!(
                command.args.first().map(|a| &a.kind),
                Some(
                    OperandKind::Bool(_)
                        | OperandKind::Dot
                        | OperandKind::Nil
                        | OperandKind::Int(..)
                        | OperandKind::Uint(..)
                        | OperandKind::Float(..)
                        | OperandKind::Str(..)
                )
            );
            if literal {
                return self.fail(format!("non executable command in pipeline stage {}", i + 1));
            }
        }
        Ok(())
    }

    /// `$x :=`, `$x =`, and in `range` also `$i, $x :=`.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result2<()> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            let variable = self.peek_non_space().clone();
            if variable.kind != Kind::Variable {
                break;
            }
            self.next();
            let next = self.peek_non_space().clone();
            match next.kind {
                Kind::Declare | Kind::Assign => {
                    self.next();
                    names.push(variable.text);
                    pipe.assign = next.kind == Kind::Assign;
                    for name in &names {
                        if pipe.assign && !self.variables.contains(name) {
                            return self.fail(format!("undefined variable {}", crate::quote(name)));
                        }
                        if !pipe.assign {
                            self.variables.push(name.clone());
                        }
                    }
                    pipe.variables = names;
                    return Ok(());
                }
                Kind::Comma if context == "range" && names.is_empty() => {
                    self.next();
                    names.push(variable.text);
                }
                Kind::Comma => return self.fail(format!("too many declarations in {context}")),
                _ => break,
            }
        }
        if !names.is_empty() {
            return self.fail("range can only initialize variables");
        }
        self.at = start;
        Ok(())
    }

    fn command(&mut self) -> Result2<Command> {
        let pos = self.peek_non_space().pos;
        let mut args = Vec::new();
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                args.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.at -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if args.is_empty() {
            return self.fail("empty command");
        }
        Ok(Command { pos, args })
    }

    fn operand(&mut self) -> Result2<Option<Operand>> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let pos = self.peek().pos;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        let kind = match term.kind {
            OperandKind::Field(mut parts) => {
                parts.extend(fields);
                OperandKind::Field(parts)
            }
            OperandKind::Variable(mut parts) => {
                parts.extend(fields);
                OperandKind::Variable(parts)
            }
            OperandKind::Bool(_)
            | OperandKind::Str(..)
            | OperandKind::Int(..)
            | OperandKind::Uint(..)
            | OperandKind::Float(..)
            | OperandKind::Nil
            | OperandKind::Dot => {
                let text = crate::quote(&term.to_string());
                return self.fail(format!("unexpected . after term {text}"));
            }
            kind => OperandKind::Chain(Box::new(Operand { pos: term.pos, kind }), fields),
        };
        Ok(Some(Operand { pos, kind }))
    }

    fn term(&mut self) -> Result2<Option<Operand>> {
        let token = self.next_non_space();
        let kind = match token.kind {
            Kind::Identifier => {
                if !function::exists(&token.text) {
                    let name = crate::quote(&token.text);
                    return Err(Error::parse(token.line, format!("function {name} not defined")));
                }
                OperandKind::Identifier(token.text)
            }
            Kind::Dot => OperandKind::Dot,
            Kind::Keyword if token.text == "nil" => OperandKind::Nil,
            Kind::Variable => {
                if !self.variables.contains(&token.text) {
                    let name = crate::quote(&token.text);
                    return Err(Error::parse(token.line, format!("undefined variable {name}")));
                }
                OperandKind::Variable(vec![token.text])
            }
            Kind::Field => OperandKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => OperandKind::Bool(token.text == "true"),
            Kind::Number => self.number(&token)?,
            Kind::Str | Kind::RawStr => {
                let text = self.unquoted(&token)?;
                OperandKind::Str(text, token.text)
            }
            Kind::LeftParen => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                OperandKind::Pipe(pipe)
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos: token.pos, kind }))
    }

    fn unquoted(&self, token: &Token) -> Result2<String> {
        let text = &token.text;
        let inner = &text[1..text.len() - 1];
        if token.kind == Kind::RawStr {
            return Ok(inner.replace('\r', ""));
        }
        unescape(inner, '"').map_or_else(|| Err(Error::parse(token.line, "invalid syntax".into())), Ok)
    }

    fn number(&self, token: &Token) -> Result2<OperandKind> {
        let text = &token.text;
        let bad = || Err(Error::parse(token.line, format!("bad number syntax: {}", crate::quote(text))));
        if let Some(inner) = text.strip_prefix('\'') {
            let inner = inner.strip_suffix('\'').unwrap_or(inner);
            let mut chars = unescape(inner, '\'').unwrap_or_default().chars().collect::<Vec<_>>();
            return match (chars.pop(), chars.is_empty()) {
                (Some(c), true) => Ok(OperandKind::Int(i64::from(c as u32), text.clone())),
                _ => Err(Error::parse(token.line, format!("malformed character constant: {text}"))),
            };
        }
        let digits = text.replace('_', "");
        match parse_int(&digits) {
            Some(value) => match i64::try_from(value) {
                Ok(i) => return Ok(OperandKind::Int(i, text.clone())),
                Err(_) => match u64::try_from(value) {
                    Ok(u) => return Ok(OperandKind::Uint(u, text.clone())),
                    Err(_) => {
                        return Err(Error::parse(
                            token.line,
                            format!("integer overflow: {}", crate::quote(text)),
                        ));
                    }
                },
            },
            None if digits.ends_with(|c: char| c.is_ascii_digit() || c == '.') => {}
            None => return bad(),
        }
        match digits.parse::<f64>() {
            Ok(f) if f.fract() == 0.0 && f.abs() < 9e15 => {
                // an ideal constant: used as an integer where one is needed, printed as a float
                Ok(OperandKind::Float(f, text.clone()))
            }
            Ok(f) => Ok(OperandKind::Float(f, text.clone())),
            Err(_) => bad(),
        }
    }
}

/// Go's integer literals with base prefixes.
fn parse_int(text: &str) -> Option<i128> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = body.to_ascii_lowercase();
    let (digits, radix) = if let Some(d) = lower.strip_prefix("0x") {
        (d, 16)
    } else if let Some(d) = lower.strip_prefix("0b") {
        (d, 2)
    } else if let Some(d) = lower.strip_prefix("0o") {
        (d, 8)
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// Go's escapes in a quoted text; None if one is malformed.
fn unescape(text: &str, quote: char) -> Option<String> {
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut buf = [0u8; 4];
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut buf).as_bytes());
            continue;
        }
        let escape = chars.next()?;
        let mut digits = |count: usize, radix: u32, first: Option<char>| -> Option<u32> {
            let mut value = first.map_or(Some(0), |f| f.to_digit(radix))?;
            for _ in 0..count {
                value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
            }
            Some(value)
        };
        match escape {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            c if c == quote => bytes.push(c as u8),
            'x' => bytes.push(u8::try_from(digits(2, 16, None)?).ok()?),
            '0'..='7' => bytes.push(u8::try_from(digits(2, 8, Some(escape))?).ok()?),
            'u' | 'U' => {
                let c = char::from_u32(digits(if escape == 'u' { 4 } else { 8 }, 16, None)?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut buf).as_bytes());
            }
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A token as Go's parser names it in an error.
fn describe(token: &Token) -> String {
    let text = &token.text;
    match token.kind {
        Kind::Eof => "EOF".to_owned(),
        Kind::Keyword => format!("<{text}>"),
        _ if text.chars().count() > 10 => {
            let start: String = text.chars().take(10).collect();
            format!("{}...", crate::quote(&start))
        }
        _ => crate::quote(text),
    }
}
