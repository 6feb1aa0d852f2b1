//! Values that templates work on: what Go's reflection would see of Docker's structures.
use std::fmt;
use std::rc::Rc;

/// Which of Go's nils a value is: they print differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nil {
    /// No value at all (a missing key, `nil` in an interface): `<no value>`.
    Interface,
    /// A pointer to nothing: `<nil>`.
    Pointer,
    /// A slice that is not there: `[]`, in JSON `null`.
    Slice,
    /// A map that is not there: `map[]`, in JSON `null`.
    Map,
}

/// A method that takes arguments, as `.Label "name"`.
pub type Function = Rc<dyn Fn(&[Value]) -> Result<Value, String>>;

/// A structure: its fields in order, under the name of its Go type.
pub struct Struct {
    /// Go's name of the type, for "can't evaluate field X in type T".
    pub type_name: &'static str,
    pub fields: Vec<(String, Value)>,
    /// Field names are found whatever their letter case (Go's names and JSON's differ in case: `ID`, `Id`).
    pub fold_case: bool,
    /// Fields that templates see and that print after the others, but that JSON leaves out (`omitempty`).
    pub omitted: Vec<(String, Value)>,
    /// Its JSON has `<`, `>` and `&` escaped (a Go type with its own `MarshalJSON`).
    pub html_json: bool,
}

/// A value in a template. Cloning is cheap.
#[derive(Clone)]
pub enum Value {
    Nil(Nil),
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Str(Rc<str>),
    List(Rc<Vec<Value>>),
    /// A map; iteration and printing go by key, JSON keeps the order given here.
    Map(Rc<Vec<(String, Value)>>),
    Struct(Rc<Struct>),
    /// A structure that prints as a text of its own (Go's `String` method).
    Text(Rc<str>, Rc<Value>),
    Func(Function),
}

impl Value {
    pub fn str(text: impl Into<Rc<str>>) -> Self {
        Self::Str(text.into())
    }

    /// A structure of named fields.
    pub fn object(type_name: &'static str, fields: Vec<(String, Value)>) -> Self {
        Self::Struct(Rc::new(Struct {
            type_name,
            fields,
            omitted: Vec::new(),
            fold_case: false,
            html_json: false,
        }))
    }

    /// A row of a listing: a structure whose JSON has its fields ordered by name and HTML escaped.
    pub fn row(type_name: &'static str, mut fields: Vec<(String, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Struct(Rc::new(Struct {
            type_name,
            fields,
            omitted: Vec::new(),
            fold_case: false,
            html_json: true,
        }))
    }

    /// Go's idea of truth: not the zero value, not empty.
    pub fn truth(&self) -> bool {
        match self {
            Self::Nil(_) => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Uint(u) => *u != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::List(l) => !l.is_empty(),
            Self::Map(m) => !m.is_empty(),
            Self::Struct(_) | Self::Text(..) | Self::Func(_) => true,
        }
    }

    /// Go's name of the value's type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Nil(Nil::Interface | Nil::Pointer) => "<nil>",
            Self::Nil(Nil::Slice) | Self::List(_) => "[]interface {}",
            Self::Nil(Nil::Map) | Self::Map(_) => "map[string]interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Struct(s) => s.type_name,
            Self::Text(_, inner) => inner.type_name(),
            Self::Func(_) => "func",
        }
    }

    /// Entries of a map ordered by key.
    pub(crate) fn sorted(entries: &[(String, Value)]) -> Vec<&(String, Value)> {
        let mut refs: Vec<_> = entries.iter().collect();
        refs.sort_by(|a, b| a.0.cmp(&b.0));
        refs
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil(_))
    }
}

impl Struct {
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        let mut all = self.fields.iter().chain(&self.omitted);
        let exact = all.clone().find(|(n, _)| n == name);
        let found = exact
            .or_else(|| self.fold_case.then(|| all.find(|(n, _)| n.eq_ignore_ascii_case(name))).flatten());
        found.map(|(_, v)| v)
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as J;
        match json {
            J::Null => Self::Nil(Nil::Interface),
            J::Bool(b) => Self::Bool(*b),
            J::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Int(i),
                (None, Some(u)) => Self::Uint(u),
                _ => Self::Float(n.as_f64().unwrap_or(0.0)),
            },
            J::String(s) => Self::str(s.as_str()),
            J::Array(items) => Self::List(Rc::new(items.iter().map(Self::from).collect())),
            J::Object(map) => Self::Map(Rc::new(map.iter().map(|(k, v)| (k.clone(), v.into())).collect())),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::str(text)
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::str(text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::to_json(self))
    }
}
