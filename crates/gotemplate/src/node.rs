//! The parsed form of a template, and its text in Go's form (errors quote it).
use std::collections::HashMap;
use std::fmt::{self, Write};

/// Everything that one template text defines.
#[derive(Debug)]
pub struct Tree {
    pub text: String,
    pub root: Vec<Node>,
    pub defined: HashMap<String, Vec<Node>>,
}

#[derive(Debug)]
pub enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { name: String, pipe: Option<Pipe>, pos: usize },
    Break,
    Continue,
}

/// `if`, `with`, `range`: a pipeline, a body, and what happens otherwise.
#[derive(Debug)]
pub struct Branch {
    pub pipe: Pipe,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug)]
pub struct Pipe {
    pub pos: usize,
    /// `=` instead of `:=`.
    pub assign: bool,
    pub variables: Vec<String>,
    pub commands: Vec<Command>,
}

#[derive(Debug)]
pub struct Command {
    pub pos: usize,
    pub args: Vec<Operand>,
}

#[derive(Debug)]
pub struct Operand {
    pub pos: usize,
    pub kind: OperandKind,
}

#[derive(Debug)]
pub enum OperandKind {
    Identifier(String),
    Dot,
    Nil,
    /// `$x.a.b`: name with the dollar sign, then fields.
    Variable(Vec<String>),
    Field(Vec<String>),
    Chain(Box<Operand>, Vec<String>),
    Bool(bool),
    Int(i64, String),
    Uint(u64, String),
    Float(f64, String),
    /// The text and how it was written.
    Str(String, String),
    Pipe(Pipe),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Identifier(name) => f.write_str(name),
            OperandKind::Dot => f.write_char('.'),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Variable(parts) => f.write_str(&parts.join(".")),
            OperandKind::Field(parts) => write!(f, ".{}", parts.join(".")),
            OperandKind::Chain(inner, parts) => match inner.kind {
                OperandKind::Pipe(_) => write!(f, "({inner}).{}", parts.join(".")),
                _ => write!(f, "{inner}.{}", parts.join(".")),
            },
            OperandKind::Bool(b) => write!(f, "{b}"),
            OperandKind::Int(_, text) | OperandKind::Uint(_, text) | OperandKind::Float(_, text) => {
                f.write_str(text)
            }
            OperandKind::Str(_, written) => f.write_str(written),
            OperandKind::Pipe(pipe) => write!(f, "{pipe}"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arg) in self.args.iter().enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            match &arg.kind {
                OperandKind::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => write!(f, "{arg}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

impl Tree {
    pub fn mentions_field(&self, name: &str) -> bool {
        nodes_mention(&self.root, name) || self.defined.values().any(|nodes| nodes_mention(nodes, name))
    }
}

fn nodes_mention(nodes: &[Node], name: &str) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Action(pipe) => pipe_mentions(pipe, name),
        Node::If(b) | Node::With(b) | Node::Range(b) => {
            pipe_mentions(&b.pipe, name) || nodes_mention(&b.body, name) || nodes_mention(&b.otherwise, name)
        }
        Node::Template { pipe, .. } => pipe.as_ref().is_some_and(|p| pipe_mentions(p, name)),
    })
}

fn pipe_mentions(pipe: &Pipe, name: &str) -> bool {
    pipe.commands.iter().flat_map(|c| &c.args).any(|arg| operand_mentions(arg, name))
}

fn operand_mentions(operand: &Operand, name: &str) -> bool {
    match &operand.kind {
        OperandKind::Variable(parts) | OperandKind::Field(parts) => parts.iter().any(|p| p == name),
        OperandKind::Chain(inner, parts) => parts.iter().any(|p| p == name) || operand_mentions(inner, name),
        OperandKind::Pipe(pipe) => pipe_mentions(pipe, name),
        _ => false,
    }
}
