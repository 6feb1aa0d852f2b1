//! Rows through `--format`: a table, a table of a template's columns, JSON lines, or plain template output.
use crate::failure::{Failure, Outcome};
use crate::format::columns;
use knarr_docker_types::Map;
use knarr_gotemplate::{MissingKey, Template, Value};
use std::rc::Rc;

/// How one kind of listing looks.
pub struct Listing {
    /// Go's name of the row type, which errors mention.
    pub type_name: &'static str,
    /// Template of the default table.
    pub table: &'static str,
    /// Template under `--quiet`.
    pub quiet: &'static str,
    /// Field and title of each column.
    pub titles: &'static [(&'static str, &'static str)],
}

/// One row: fields and their values.
pub type Row = Vec<(&'static str, Value)>;

/// A format that has been chosen and parsed.
pub struct Chosen {
    template: Template,
    is_table: bool,
}

impl Chosen {
    /// Whether the rows must have this field (expensive ones are asked from the engine only then).
    pub fn mentions(&self, field: &str) -> bool {
        self.template.mentions_field(field)
    }
}

impl Listing {
    /// Chooses by `--format` (or the default of config.json) and `--quiet`.
    pub fn choose(&self, format: &str, quiet: bool) -> Outcome<Chosen> {
        self.choose_with_table(format, quiet, self.table)
    }

    pub fn choose_with_table(&self, format: &str, quiet: bool, table: &str) -> Outcome<Chosen> {
        let (is_table, text) = match format {
            "" | "table" if quiet => (false, self.quiet.to_owned()),
            "" | "table" => (true, table.to_owned()),
            "json" => (false, "{{json .}}".to_owned()),
            format => match format.strip_prefix("table") {
                Some(rest) => (true, rest.to_owned()),
                None => (false, format.to_owned()),
            },
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&text)
            .map_err(|e| Failure::new(format!("{}: {e}", self.wording("failed to parse template"))))?;
        Ok(Chosen { template, is_table })
    }

    /// The rows as text, ready to print.
    pub fn render(&self, chosen: &Chosen, rows: impl IntoIterator<Item = Row>) -> Outcome<String> {
        let mut body = String::new();
        for fields in rows {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let row = Value::row(self.type_name, fields);
            let text = chosen.template.execute(&row, MissingKey::NoValue);
            body.push_str(
                &text.map_err(|e| {
                    Failure::new(format!("{}: {e}", self.wording("failed to execute template")))
                })?,
            );
            body.push('\n');
        }
        if !chosen.is_table {
            return Ok(body);
        }
        let titles = chosen.template.execute_header(&self.titles()).unwrap_or_default();
        Ok(columns::align(&format!("{titles}\n{body}"), &columns::LISTING))
    }

    /// Docker's client says it better for containers only.
    fn wording(&self, better: &'static str) -> &'static str {
        if self.type_name == "*formatter.ContainerContext" { better } else { "template parsing error" }
    }

    fn titles(&self) -> Value {
        let mut fields: Vec<(String, Value)> =
            self.titles.iter().map(|(name, title)| ((*name).to_owned(), Value::str(*title))).collect();
        fields.push(("Label".to_owned(), Value::Func(Rc::new(label_title))));
        Value::Map(Rc::new(fields))
    }
}

/// The title of a label's column: the last part of its name.
fn label_title(args: &[Value]) -> Result<Value, String> {
    match args {
        [Value::Str(name)] => {
            let last = name.rsplit('.').next().unwrap_or_default();
            Ok(Value::str(last.replace(['-', '_'], " ")))
        }
        _ => Err(format!("wrong number of args for Label: want 1 got {}", args.len())),
    }
}

/// The method `Label` of a row.
pub fn label_method(labels: &Map<String>) -> Value {
    let labels = labels.clone();
    Value::Func(Rc::new(move |args| match args {
        [Value::Str(name)] => Ok(Value::str(labels.get(&**name).cloned().unwrap_or_default())),
        _ => Err(format!("wrong number of args for Label: want 1 got {}", args.len())),
    }))
}

/// `a=1,b=2`.
pub fn label_text(labels: &Map<String>) -> Value {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Value::str(pairs.join(","))
}
