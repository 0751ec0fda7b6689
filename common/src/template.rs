//! Templates in a service's spec: what stands between `{{` and `}}` in a variable or a host name is replaced by what is
//! known of the task when it is prepared.
//!
//! Of Go's template language as much as names things: `{{.Node.Hostname}}`, `{{index .Service.Labels "x"}}`, a text in
//! quotes, comments, and the dashes that trim. The rest of it, functions and conditions, is refused. Pure; the same
//! code judges a template at admission and evaluates it on a node, so what was admitted can be evaluated.

use std::collections::BTreeMap;

/// What is known of a task where it is prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// `.Service.ID`.
    pub service_id: String,
    /// `.Service.Name`.
    pub service_name: String,
    /// `.Service.Labels`.
    pub service_labels: BTreeMap<String, String>,
    /// `.Node.ID`.
    pub node_id: String,
    /// `.Node.Hostname`.
    pub node_hostname: String,
    /// `.Node.Platform.OS`.
    pub node_os: String,
    /// `.Node.Platform.Architecture`.
    pub node_architecture: String,
    /// `.Task.ID`.
    pub task_id: String,
    /// `.Task.Name`.
    pub task_name: String,
    /// `.Task.Slot`; of a global service the node's id.
    pub task_slot: String,
}

/// Why a template cannot be evaluated, in Go's words where Go has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// An action without an end.
    #[error("template: expansion:{line}: unclosed action")]
    Unclosed {
        /// Lines counted from 1.
        line: usize,
    },
    /// `{{}}`.
    #[error("template: expansion:{line}: missing value for command")]
    Empty {
        /// Lines counted from 1.
        line: usize,
    },
    /// A name that is no function.
    #[error("template: expansion:{line}: function {name:?} not defined")]
    Function {
        /// Lines counted from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// A chain of fields that leads nowhere.
    #[error("template: expansion:{line}:{column}: executing \"expansion\" at <{chain}>: {reason}")]
    Field {
        /// Lines counted from 1.
        line: usize,
        /// Bytes from the start of the line.
        column: usize,
        /// The chain.
        chain: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Go's language has it and this one does not.
    #[error(
        "template: expansion:{line}: {action:?} is not supported: fields of .Service, .Node and .Task and index are"
    )]
    Unsupported {
        /// Lines counted from 1.
        line: usize,
        /// What is written there.
        action: String,
    },
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
/// The functions and words of Go's language.
const WORDS: [&str; 28] = [
    "and", "block", "break", "call", "continue", "define", "else", "end", "eq", "ge", "gt", "html", "if", "js", "le",
    "len", "lt", "ne", "nil", "not", "or", "print", "printf", "println", "range", "slice", "template", "with",
];

/// A value of the context.
enum Value<'a> {
    Text(&'a str),
    Map(&'a BTreeMap<String, String>),
    /// A struct, by the name Go gives its type.
    Struct(&'static str),
}

impl Context {
    /// The text with every template in it replaced.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn expand(&self, text: &str) -> Result<String, TemplateError> {
        let mut expanded = String::with_capacity(text.len());
        let mut at = 0;
        let mut trim = false;
        while let Some(open) = text[at..].find(OPEN).map(|found| at + found) {
            let start = open + OPEN.len();
            let line = line_of(text, open);
            let end = end_of_action(&text[start..]).ok_or(TemplateError::Unclosed { line })? + start;
            let (action, before, after) = trimmed(&text[start..end]);
            let literal = &text[at..open];
            let literal = if trim { literal.trim_start_matches(BLANK) } else { literal };
            expanded += if before { literal.trim_end_matches(BLANK) } else { literal };
            let offset = start + text[start..end].find(action).unwrap_or(0);
            expanded += &self.evaluate(text, action, offset)?;
            (at, trim) = (end + CLOSE.len(), after);
        }
        let rest = &text[at..];
        expanded += if trim { rest.trim_start_matches(BLANK) } else { rest };
        Ok(expanded)
    }

    /// A variable `NAME=VALUE` with the templates of its value replaced; the name is as it is.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn expand_variable(&self, variable: &str) -> Result<String, TemplateError> {
        match variable.split_once('=') {
            Some((name, value)) => Ok(format!("{name}={}", self.expand(value)?)),
            None => Ok(variable.to_owned()),
        }
    }

    /// What stands for an action; `at` is where it begins in the whole text.
    fn evaluate(&self, whole: &str, action: &str, at: usize) -> Result<String, TemplateError> {
        let line = line_of(whole, at);
        if action.starts_with("/*") && action.ends_with("*/") {
            return Ok(String::new());
        }
        if let Some(text) = quoted(action) {
            return Ok(text);
        }
        let unsupported = || TemplateError::Unsupported { line, action: action.to_owned() };
        let word: String = action.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        match (word.as_str(), &action[word.len()..]) {
            ("", "") => Err(TemplateError::Empty { line }),
            ("index", arguments) => {
                let (map, key) = arguments.trim().split_once(BLANK).ok_or_else(unsupported)?;
                let key = quoted(key.trim()).ok_or_else(unsupported)?;
                let place = at + action.find(map).unwrap_or(0);
                match self.field(whole, map, place)? {
                    // As in Go, what a map does not hold is its zero value.
                    Value::Map(map) => Ok(map.get(&key).cloned().unwrap_or_default()),
                    Value::Text(_) | Value::Struct(_) => Err(unsupported()),
                }
            }
            ("", chain) if chain.starts_with('.') && !chain.contains([' ', '\t', '\n', '\r', '|', '(', ')']) => {
                match self.field(whole, chain, at)? {
                    Value::Text(text) => Ok(text.to_owned()),
                    Value::Map(map) => {
                        let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                        Ok(format!("map[{}]", entries.join(" ")))
                    }
                    Value::Struct(_) => Err(unsupported()),
                }
            }
            ("", _) => Err(unsupported()),
            (word, _) if WORDS.contains(&word) => Err(unsupported()),
            (word, _) => Err(TemplateError::Function { line, name: word.to_owned() }),
        }
    }

    /// Follows a chain like `.Node.Platform.OS`.
    fn field(&self, whole: &str, chain: &str, at: usize) -> Result<Value<'_>, TemplateError> {
        // Go names the place of the second field where there is one.
        let second = chain.get(1..).and_then(|rest| rest.find('.')).map_or(0, |found| found + 1);
        let refused = |reason: String| {
            let place = at + second;
            let column = whole[..place].rfind('\n').map_or(place, |newline| place - newline - 1);
            TemplateError::Field { line: line_of(whole, place), column, chain: chain.to_owned(), reason }
        };
        let mut value = Value::Struct("*template.Context");
        let mut path = String::new();
        for name in chain.split('.').skip(1) {
            value = match value {
                Value::Struct(kind) => {
                    path = format!("{path}.{name}");
                    let found = self.at(&path);
                    found.ok_or_else(|| refused(format!("can't evaluate field {name} in type {kind}")))?
                }
                Value::Map(map) => match map.get(name) {
                    Some(text) => Value::Text(text),
                    None => return Err(refused(format!("map has no entry for key {name:?}"))),
                },
                Value::Text(_) => return Err(refused(format!("can't evaluate field {name} in type string"))),
            };
        }
        Ok(value)
    }

    /// The value at a path from the root, as SwarmKit's template context has them.
    fn at(&self, path: &str) -> Option<Value<'_>> {
        Some(match path {
            ".Service" => Value::Struct("struct { ID string; Name string; Labels map[string]string }"),
            ".Service.ID" => Value::Text(&self.service_id),
            ".Service.Name" => Value::Text(&self.service_name),
            ".Service.Labels" => Value::Map(&self.service_labels),
            ".Node" => Value::Struct("struct { ID string; Hostname string; Platform template.Platform }"),
            ".Node.ID" => Value::Text(&self.node_id),
            ".Node.Hostname" => Value::Text(&self.node_hostname),
            ".Node.Platform" => Value::Struct("template.Platform"),
            ".Node.Platform.OS" => Value::Text(&self.node_os),
            ".Node.Platform.Architecture" => Value::Text(&self.node_architecture),
            ".Task" => Value::Struct("struct { ID string; Name string; Slot string }"),
            ".Task.ID" => Value::Text(&self.task_id),
            ".Task.Name" => Value::Text(&self.task_name),
            ".Task.Slot" => Value::Text(&self.task_slot),
            _ => return None,
        })
    }
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Where an action ends: at the first `}}` outside quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with(CLOSE) => return Some(at),
            None => {}
        }
    }
    None
}

/// An action without the blanks around it, and whether it takes away the blanks before and after it.
fn trimmed(action: &str) -> (&str, bool, bool) {
    let before = action.strip_prefix('-').filter(|rest| rest.starts_with(BLANK));
    let action = before.unwrap_or(action);
    let after = action.strip_suffix('-').filter(|rest| rest.ends_with(BLANK));
    (after.unwrap_or(action).trim_matches(BLANK), before.is_some(), after.is_some())
}

/// A Go text: in double quotes with escapes, or in back quotes as it is.
fn quoted(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        return (!raw.contains('`')).then(|| raw.to_owned());
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut read = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        read.push(match c {
            '"' => return None,
            '\\' => match characters.next()? {
                'n' => '\n',
                't' => '\t',
                same @ ('"' | '\\') => same,
                _ => return None,
            },
            c => c,
        });
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context() -> Context {
        Context {
            service_id: "s1".into(),
            service_name: "web".into(),
            service_labels: [("tier".to_owned(), "front".to_owned()), ("a".to_owned(), "b".to_owned())].into(),
            node_id: "n1".into(),
            node_hostname: "dk1".into(),
            node_os: "linux".into(),
            node_architecture: "x86_64".into(),
            task_id: "t1".into(),
            task_name: "web.1.t1".into(),
            task_slot: "1".into(),
        }
    }

    #[test]
    fn what_is_known_is_put_in() {
        for (text, expected) in [
            ("plain } text {", "plain } text {"),
            ("{{.Node.Hostname}}-{{ .Task.Slot }}", "dk1-1"),
            ("{{.Service.ID}} {{.Service.Name}} {{.Task.ID}} {{.Task.Name}} {{.Node.ID}}", "s1 web t1 web.1.t1 n1"),
            ("{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}", "linux/x86_64"),
            ("{{.Service.Labels}}", "map[a:b tier:front]"),
            ("{{.Service.Labels.tier}}", "front"),
            ("{{index .Service.Labels \"tier\"}} [{{index .Service.Labels \"none\"}}]", "front []"),
            ("a {{- .Node.ID -}} b", "an1b"),
            ("{{/* a comment */}}{{\"}}\"}}{{`x`}}", "}}x"),
        ] {
            assert_eq!(context().expand(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(context().expand_variable("{{.Node.ID}}={{.Node.ID}}").as_deref(), Ok("{{.Node.ID}}=n1"));
        assert_eq!(context().expand_variable("{{.Bogus}}").as_deref(), Ok("{{.Bogus}}"));
    }

    #[test]
    fn the_rest_is_refused() {
        for (text, expected) in [
            ("{{.Node.Hostname", "template: expansion:1: unclosed action"),
            ("\n{{}}", "template: expansion:2: missing value for command"),
            ("{{upper .Node.ID}}", "template: expansion:1: function \"upper\" not defined"),
            (
                "ab\n{{.Bogus}}",
                "template: expansion:2:2: executing \"expansion\" at <.Bogus>: can't evaluate field Bogus in type \
                 *template.Context",
            ),
            (
                "{{.Node.Platform.Bogus}}",
                "template: expansion:1:7: executing \"expansion\" at <.Node.Platform.Bogus>: can't evaluate field Bogus \
                 in type template.Platform",
            ),
            (
                "{{if .Task.Slot}}y{{end}}",
                "template: expansion:1: \"if .Task.Slot\" is not supported: fields of .Service, .Node and .Task and \
                 index are",
            ),
        ] {
            assert_eq!(context().expand(text).unwrap_err().to_string(), expected, "{text}");
        }
        for text in [
            "{{.Node}}",
            "{{.Node.ID | print}}",
            "{{.}}",
            "{{index .Node \"ID\"}}",
            "{{index .Service.Labels}}",
            "{{1}}",
        ] {
            assert!(context().expand(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-z{}.\"`\\\\ |/*\n-]{0,24}|\\PC{0,16}") {
            let _ = context().expand(&text);
            let _ = context().expand(&format!("{{{{{text}}}}}"));
        }
    }
}
