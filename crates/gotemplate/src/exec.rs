//! Running a tree over a value.
use crate::error::Error;
use crate::function::{self, Param};
use crate::node::{Branch, Command, Node, Operand, OperandKind, Pipe, Tree};
use crate::print::display;
use crate::value::{Nil, Value};
use crate::{MAX_DEPTH, MAX_OUTPUT_BYTES, MAX_STEPS};
use std::rc::Rc;

/// What a key does that a map does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// `<no value>`
    NoValue,
    /// `map has no entry for key`; values other than maps have no fields and no named type.
    Error,
}

pub fn execute(tree: &Tree, data: &Value, missing: MissingKey, header: bool) -> Result<String, Error> {
    let mut state = State {
        tree,
        template: String::new(),
        missing,
        header,
        variables: vec![("$".to_owned(), data.clone())],
        out: String::new(),
        steps: 0,
        depth: 0,
    };
    state.nodes(data, &tree.root)?;
    Ok(state.out)
}

enum Flow {
    Next,
    Break,
    Continue,
}

/// Where an error is reported: position and text of a node.
struct At {
    pos: usize,
    text: String,
}

impl From<&Operand> for At {
    fn from(operand: &Operand) -> Self {
        Self { pos: operand.pos, text: operand.to_string() }
    }
}
impl From<&Command> for At {
    fn from(command: &Command) -> Self {
        Self { pos: command.pos, text: command.to_string() }
    }
}
impl From<&Pipe> for At {
    fn from(pipe: &Pipe) -> Self {
        Self { pos: pipe.pos, text: pipe.to_string() }
    }
}

struct State<'a> {
    tree: &'a Tree,
    template: String,
    missing: MissingKey,
    header: bool,
    variables: Vec<(String, Value)>,
    out: String,
    steps: u64,
    depth: usize,
}

impl<'a> State<'a> {
    fn fail<T>(&self, at: impl Into<At>, message: impl Into<String>) -> Result<T, Error> {
        let at = at.into();
        let before = &self.tree.text[..at.pos.min(self.tree.text.len())];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Err(Error::Execute {
            template: self.template.clone(),
            line: 1 + before.matches('\n').count(),
            column: before.len() - line_start,
            context: at.text,
            message: message.into(),
        })
    }

    fn step(&mut self, at: &Pipe) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return self.fail(at, "template takes too many steps");
        }
        if self.out.len() > MAX_OUTPUT_BYTES {
            return self.fail(at, "output is too long");
        }
        Ok(())
    }

    fn nodes(&mut self, dot: &Value, nodes: &'a [Node]) -> Result<Flow, Error> {
        for node in nodes {
            match self.node(dot, node)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &'a Node) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.print(&value);
                }
            }
            Node::If(branch) => return self.if_or_with(dot, branch, false),
            Node::With(branch) => return self.if_or_with(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { name, pipe, pos } => self.template(dot, name, pipe.as_ref(), *pos)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Value) {
        match value {
            Value::Nil(Nil::Interface) => self.out.push_str("<no value>"),
            value => self.out.push_str(&display(value)),
        }
    }

    fn if_or_with(&mut self, dot: &Value, branch: &'a Branch, with: bool) -> Result<Flow, Error> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = if value.truth() {
            self.nodes(if with { &value } else { dot }, &branch.body)
        } else {
            self.nodes(dot, &branch.otherwise)
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Result<Flow, Error> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let items: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::List(items) => {
                let items = Rc::clone(items);
                Box::new((0..items.len()).map(move |i| (Value::Int(i as i64), items[i].clone())))
            }
            Value::Map(entries) => {
                let sorted: Vec<_> = Value::sorted(entries)
                    .into_iter()
                    .map(|(k, v)| (Value::str(k.as_str()), v.clone()))
                    .collect();
                Box::new(sorted.into_iter())
            }
            Value::Int(count) => Box::new((0..*count).map(|i| (Value::Int(i), Value::Int(i)))),
            Value::Nil(_) => Box::new(std::iter::empty()),
            other => {
                let message = format!("range can't iterate over {}", display(other));
                return self.fail(&branch.pipe, message);
            }
        };
        let mut any = false;
        let names = &branch.pipe.variables;
        for (key, item) in items {
            any = true;
            self.step(&branch.pipe)?;
            match names.as_slice() {
                [] => {}
                [one] => self.set_range(one, item.clone(), branch.pipe.assign, mark),
                [first, second, ..] => {
                    self.set_range(first, key, branch.pipe.assign, mark);
                    self.set_range(second, item.clone(), branch.pipe.assign, mark);
                }
            }
            let inner = self.variables.len();
            let flow = self.nodes(&item, &branch.body)?;
            self.variables.truncate(inner);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        self.variables.truncate(mark);
        if any { Ok(Flow::Next) } else { self.nodes(dot, &branch.otherwise) }
    }

    fn set_range(&mut self, name: &str, value: Value, assign: bool, mark: usize) {
        let from = if assign { 0 } else { mark };
        match self.variables[from..].iter_mut().rev().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn template(&mut self, dot: &Value, name: &str, pipe: Option<&'a Pipe>, pos: usize) -> Result<(), Error> {
        let at = |text: String| At { pos, text };
        let tree = self.tree;
        let Some(nodes) = tree.defined.get(name) else {
            let call = format!("{{{{template {}}}}}", crate::quote(name));
            return self.fail(at(call), format!("template {} not defined", crate::quote(name)));
        };
        if self.depth >= MAX_DEPTH {
            let call = format!("{{{{template {}}}}}", crate::quote(name));
            return self.fail(at(call), format!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        let value = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil(Nil::Interface),
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        let outer_name = std::mem::replace(&mut self.template, name.to_owned());
        self.depth += 1;
        let result = self.nodes(&value, nodes);
        self.depth -= 1;
        self.template = outer_name;
        self.variables = outer;
        result.map(|_| ())
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'a Pipe) -> Result<Value, Error> {
        self.step(pipe)?;
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        let value = last.unwrap_or(Value::Nil(Nil::Interface));
        // in a range the declared variables get the elements
        for name in &pipe.variables {
            if pipe.assign {
                if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                    slot.1 = value.clone();
                }
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'a Command, last: Option<Value>) -> Result<Value, Error> {
        let Some(first) = command.args.first() else {
            return self.fail(command, "empty command");
        };
        let rest = &command.args[1..];
        match &first.kind {
            OperandKind::Identifier(name) => self.call(dot, name, first, command, last),
            OperandKind::Field(fields) => self.fields(dot, dot.clone(), fields, first, rest, last),
            OperandKind::Variable(parts) => {
                let value = self.variable(&parts[0]);
                self.fields(dot, value, &parts[1..], first, rest, last)
            }
            OperandKind::Chain(inner, fields) => {
                let value = self.operand(dot, inner)?;
                self.fields(dot, value, fields, first, rest, last)
            }
            _ if !rest.is_empty() || last.is_some() => {
                self.fail(first, format!("can't give argument to non-function {first}"))
            }
            OperandKind::Nil => self.fail(command, "nil is not a command"),
            _ => self.operand(dot, first),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(n, _)| n == name);
        found.map_or(Value::Nil(Nil::Interface), |(_, v)| v.clone())
    }

    /// The value of an operand that is not the head of a command.
    fn operand(&mut self, dot: &Value, operand: &'a Operand) -> Result<Value, Error> {
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Nil(Nil::Interface),
            OperandKind::Bool(b) => Value::Bool(*b),
            OperandKind::Int(i, _) => Value::Int(*i),
            OperandKind::Uint(u, _) => Value::Uint(*u),
            OperandKind::Float(f, _) => Value::Float(*f),
            OperandKind::Str(text, _) => Value::str(text.as_str()),
            OperandKind::Field(fields) => return self.fields(dot, dot.clone(), fields, operand, &[], None),
            OperandKind::Variable(parts) => {
                let value = self.variable(&parts[0]);
                return self.fields(dot, value, &parts[1..], operand, &[], None);
            }
            OperandKind::Chain(inner, fields) => {
                let value = self.operand(dot, inner)?;
                return self.fields(dot, value, fields, operand, &[], None);
            }
            OperandKind::Pipe(pipe) => {
                let mark = self.variables.len();
                let value = self.pipeline(dot, pipe)?;
                self.variables.truncate(mark);
                value
            }
            OperandKind::Identifier(name) => {
                return self.call_with(name, operand, At::from(operand), &[], Vec::new());
            }
        })
    }

    /// `receiver.a.b arg...`: arguments go to the last field, which must then be a method.
    fn fields(
        &mut self,
        dot: &Value,
        receiver: Value,
        fields: &[String],
        at: &'a Operand,
        args: &'a [Operand],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let has_args = !args.is_empty() || last.is_some();
        if fields.is_empty() {
            if has_args {
                return self.fail(at, format!("can't give argument to non-function {at}"));
            }
            return Ok(receiver);
        }
        let mut value = receiver;
        for (i, name) in fields.iter().enumerate() {
            value = self.field(&value, name, at)?;
            let final_field = i + 1 == fields.len();
            if let Value::Func(function) = &value {
                let function = Rc::clone(function);
                let mut values = Vec::new();
                if final_field {
                    for arg in args {
                        values.push(self.operand(dot, arg)?);
                    }
                    values.extend(last.clone());
                }
                value = match function(&values) {
                    Ok(value) => value,
                    Err(message) => return self.fail(at, message),
                };
            } else if final_field && has_args {
                return self.fail(at, format!("{name} is not a method but has arguments"));
            }
        }
        Ok(value)
    }

    fn field(&self, receiver: &Value, name: &str, at: &Operand) -> Result<Value, Error> {
        match receiver {
            Value::Struct(s) => match s.field(name) {
                Some(value) => Ok(value.clone()),
                None => self.fail(at, format!("can't evaluate field {name} in type {}", s.type_name)),
            },
            Value::Text(_, inner) => self.field(inner, name, at),
            Value::Map(entries) => match entries.iter().find(|(k, _)| k == name) {
                Some((_, value)) => Ok(value.clone()),
                None => self.missing(name, at),
            },
            Value::Nil(Nil::Map) => self.missing(name, at),
            Value::Nil(Nil::Interface) if self.missing == MissingKey::Error => {
                self.fail(at, format!("nil data; no entry for key {}", crate::quote(name)))
            }
            Value::Nil(Nil::Interface) => Ok(Value::Nil(Nil::Interface)),
            Value::Nil(Nil::Pointer) => {
                self.fail(at, format!("nil pointer evaluating interface {{}}.{name}"))
            }
            other => {
                let type_name = match self.missing {
                    MissingKey::Error => "interface {}",
                    MissingKey::NoValue => other.type_name(),
                };
                self.fail(at, format!("can't evaluate field {name} in type {type_name}"))
            }
        }
    }

    fn missing(&self, name: &str, at: &Operand) -> Result<Value, Error> {
        match self.missing {
            MissingKey::NoValue => Ok(Value::Nil(Nil::Interface)),
            MissingKey::Error => self.fail(at, format!("map has no entry for key {}", crate::quote(name))),
        }
    }

    fn call(
        &mut self,
        dot: &Value,
        name: &str,
        at: &'a Operand,
        command: &'a Command,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let operands = &command.args[1..];
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, name, at, operands, last);
        }
        let mut values = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            values.push(self.operand(dot, operand)?);
        }
        values.extend(last);
        self.call_with(name, at, At::from(command), operands, values)
    }

    fn call_with(
        &mut self,
        name: &str,
        at: &Operand,
        whole: At,
        operands: &[Operand],
        values: Vec<Value>,
    ) -> Result<Value, Error> {
        let Some(signature) = function::signature(name) else {
            return self.fail(at, format!("{} is not a defined function", crate::quote(name)));
        };
        if self.header && function::keeps_title(name) && !values.is_empty() {
            return Ok(values.into_iter().next().unwrap_or(Value::Nil(Nil::Interface)));
        }
        let (count, wanted) = (values.len(), signature.params.len());
        if signature.variadic {
            if count + 1 < wanted {
                let least = wanted - 1;
                return self
                    .fail(at, format!("wrong number of args for {name}: want at least {least} got {count}"));
            }
        } else if count != wanted {
            return self.fail(at, format!("wrong number of args for {name}: want {wanted} got {count}"));
        }
        for (i, value) in values.iter().enumerate() {
            let param = signature.params[i.min(wanted - 1)];
            if let Err(message) = check(param, value, operands.get(i)) {
                return match operands.get(i) {
                    Some(operand) => self.fail(operand, message),
                    None => self.fail(whole, message),
                };
            }
        }
        match function::call(name, &values) {
            Ok(value) => Ok(value),
            Err(message) => self.fail(whole, format!("error calling {name}: {message}")),
        }
    }

    fn short_circuit(
        &mut self,
        dot: &Value,
        name: &str,
        at: &'a Operand,
        operands: &'a [Operand],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let mut value = None;
        for operand in operands {
            let current = self.operand(dot, operand)?;
            let done = current.truth() == (name == "or");
            value = Some(current);
            if done {
                return Ok(value.unwrap_or(Value::Nil(Nil::Interface)));
            }
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => self.fail(at, format!("wrong number of args for {name}: want at least 1 got 0")),
        }
    }
}

fn check(param: Param, value: &Value, operand: Option<&Operand>) -> Result<(), String> {
    let wanted = match (param, value) {
        (Param::Any, _) | (Param::Str, Value::Str(_)) | (Param::Int, Value::Int(_)) => return Ok(()),
        (Param::Str, Value::Text(..)) => return Ok(()),
        (Param::Str, _) => "string",
        (Param::Int, _) => "int",
    };
    let literal = operand.is_some_and(|o| {
        matches!(
            o.kind,
            OperandKind::Bool(_)
                | OperandKind::Int(..)
                | OperandKind::Uint(..)
                | OperandKind::Float(..)
                | OperandKind::Str(..)
        )
    });
    Err(match (value, operand) {
        (_, Some(operand)) if literal && wanted == "int" => format!("expected integer; found {operand}"),
        (_, Some(operand)) if literal => format!("expected {wanted}; found {operand}"),
        (value, _) if value.is_nil() => format!("invalid value; expected {wanted}"),
        (value, _) => format!("wrong type for value; expected {wanted}; got {}", value.type_name()),
    })
}
