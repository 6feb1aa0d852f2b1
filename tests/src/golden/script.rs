//! The scripts: blocks with an empty line between them.
//!
//! ```text
//! POST /containers/create?name=one         a request; without a version it is sent as 1.51, the newest that the daemon of the goldens knows
//! {"Image": "busybox"}                     its body, if there is one
//! > at 1.24 1.40                           sent again as these versions; the golden holds what they answer otherwise
//! > save one /Id                           a part of the reply, for `$one` in later requests
//! > header X-Registry-Auth: e30=
//! > type text/plain                        the body's Content-Type
//! > until /State/Running false             sent again until the reply has this
//! > lines | > tar | > framed               the body: a JSON value a line; an archive; Docker's multiplexed stream
//! > hijack                                 the body is sent as the stream's input, after the reply's head
//! > sort [/Mounts]                         the order of this array says nothing
//! > ignore /HostConfig/X: why              Knarr differs here, on purpose
//! > status only: why                       Knarr's text differs, on purpose
//! > differs: why                           Knarr answers something else, on purpose: nothing is compared
//! ```
//! A block of such lines alone holds for the whole file: `> ignore`, and `> discard`: containers that a request makes are removed at once.

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Json,
    Lines,
    Tar,
    Framed,
}

#[derive(Debug, Clone, Default)]
pub struct Step {
    pub method: String,
    pub path: String,
    pub body: String,
    pub content_type: Option<String>,
    pub headers: Vec<(String, String)>,
    pub versions: Vec<String>,
    pub saves: Vec<(String, String)>,
    pub until: Option<(String, String)>,
    pub form: Form,
    pub hijack: bool,
    pub sorts: Vec<String>,
    pub ignores: Vec<String>,
    pub status_only: bool,
    pub differs: bool,
    pub discard: bool,
}

impl Step {
    pub fn name(&self) -> String {
        match self.body.lines().next() {
            Some(first) if first.len() < 120 => format!("{} {} {first}", self.method, self.path),
            _ => format!("{} {}", self.method, self.path),
        }
    }
}

#[derive(Debug, Default)]
pub struct Script {
    pub steps: Vec<Step>,
    pub ignores: Vec<String>,
    pub discard: bool,
}

/// # Errors
/// The line that is not understood.
pub fn parse(text: &str) -> Result<Script, String> {
    let mut script = Script::default();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    for block in lines.split(|l| l.trim().is_empty()).filter(|b| !b.is_empty()) {
        let mut step = Step::default();
        for (i, line) in block.iter().enumerate() {
            match line.strip_prefix("> ") {
                Some(words) => {
                    directive(&mut step, words).ok_or_else(|| format!("not understood: {line}"))?
                }
                None if i == 0 => {
                    let (method, path) = line.split_once(' ').ok_or_else(|| format!("no request: {line}"))?;
                    (step.method, step.path) = (method.to_owned(), path.trim().to_owned());
                }
                None => {
                    step.body.push_str(line);
                    step.body.push('\n');
                }
            }
        }
        step.body.truncate(step.body.trim_end().len());
        match step.method.is_empty() {
            true => {
                script.ignores.append(&mut step.ignores);
                script.discard |= step.discard;
            }
            false => script.steps.push(step),
        }
    }
    Ok(script)
}

fn directive(step: &mut Step, words: &str) -> Option<()> {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let rest = rest.trim();
    let pair = |by: char| rest.split_once(by).map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned()));
    match word {
        "at" => step.versions.extend(rest.split_whitespace().map(str::to_owned)),
        "save" => step.saves.push(pair(' ')?),
        "header" => step.headers.push(pair(':')?),
        "type" => step.content_type = Some(rest.to_owned()),
        "until" => step.until = Some(pair(' ')?),
        "lines" => step.form = Form::Lines,
        "tar" => step.form = Form::Tar,
        "framed" => step.form = Form::Framed,
        "hijack" => step.hijack = true,
        "sort" => step.sorts.push(rest.to_owned()),
        // A reason is a must.
        "ignore" => step.ignores.push(pair(':')?.0),
        "status" => step.status_only = rest.starts_with("only:"),
        "differs:" => step.differs = true,
        "discard" => step.discard = true,
        _ => return None,
    }
    Some(())
}
