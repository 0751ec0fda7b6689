//! `--format`: `json`, or text with placeholders `{{.Field}}` and `{{json .Field}}`, which may go deeper (`{{.Spec.Name}}`);
//! with `table` before it, columns below a header. Of Go's templates these are the ones that need no language.

use std::{fmt::Write as _, str::FromStr};

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::Table;

/// How output is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON text a line.
    Json,
    /// Columns; a tab stands between two.
    Table(Template),
    /// A line for each thing.
    Text(Template),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        match text.strip_prefix("table") {
            _ if text == "json" => Ok(Self::Json),
            Some(columns) if columns.starts_with([' ', '\t']) => Ok(Self::Table(columns.trim_start().parse()?)),
            _ => Ok(Self::Text(text.parse()?)),
        }
    }
}

/// Text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field {
        /// Names from the outside in; none is the whole.
        path: Vec<String>,
        json: bool,
    },
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once("{{") {
            let (inside, after) = tail.split_once("}}").ok_or_else(|| format!("unclosed action in {text:?}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(placeholder(inside.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

fn placeholder(inside: &str) -> Result<Part, String> {
    let (json, field) = match inside.strip_prefix("json ") {
        Some(field) => (true, field.trim()),
        None => (false, inside),
    };
    let wrong = || format!("{{{{{inside}}}}} is not understood: write {{{{.Field}}}} or {{{{json .Field}}}}");
    let path = field.strip_prefix('.').ok_or_else(wrong)?;
    let path: Vec<String> = if path.is_empty() { Vec::new() } else { path.split('.').map(str::to_owned).collect() };
    let plain = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if path.iter().all(plain) { Ok(Part::Field { path, json }) } else { Err(wrong()) }
}

impl Template {
    /// The text for one thing.
    ///
    /// # Errors
    /// When it has no such field.
    fn fill(&self, thing: &Value) -> Result<String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field { path, json } => {
                    let mut found = thing;
                    for name in path {
                        match found.get(name) {
                            Some(inner) => found = inner,
                            None => bail!("there is no field .{} to format", path.join(".")),
                        }
                    }
                    match found {
                        Value::String(text) if !json => filled.push_str(text),
                        other => write!(filled, "{other}")?,
                    }
                }
            }
        }
        Ok(filled)
    }
}

impl Format {
    /// Rows of a list: each column has the name of a field and a title.
    ///
    /// # Errors
    /// When a field is none of the columns.
    pub(crate) fn rows<const N: usize>(
        &self,
        columns: [(&str, &str); N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<String> {
        let object = |cells: [String; N]| {
            let named = columns.iter().zip(cells).map(|((name, _), cell)| ((*name).to_owned(), Value::String(cell)));
            Value::Object(named.collect::<Map<_, _>>())
        };
        match self {
            Self::Table(template) => {
                let titles = object(columns.map(|(_, title)| title.to_owned()));
                let titles = template.fill(&titles)?;
                let mut table = Table::new(&titles.split('\t').collect::<Vec<_>>());
                for row in rows {
                    table.row(template.fill(&object(row))?.split('\t').map(str::to_owned));
                }
                Ok(table.to_string())
            }
            other => rows.into_iter().map(|row| other.one(&object(row))).collect(),
        }
    }

    /// One thing, with the end of its line.
    ///
    /// # Errors
    /// When it has no such field.
    pub(crate) fn one(&self, thing: &Value) -> Result<String> {
        Ok(match self {
            Self::Json => format!("{thing}\n"),
            Self::Text(template) | Self::Table(template) => format!("{}\n", template.fill(thing)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(format: &str) -> Result<String, String> {
        let thing = json!({"ID": "s1", "Spec": {"Name": "web", "Mode": {"Global": {}}, "Replicas": 3}});
        format.parse::<Format>()?.one(&thing).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_filled_in() {
        assert_eq!(one("{{.ID}} is {{ .Spec.Name }}!").unwrap(), "s1 is web!\n");
        assert_eq!(one("{{json .Spec.Mode}}|{{.Spec.Replicas}}|{{json .ID}}").unwrap(), "{\"Global\":{}}|3|\"s1\"\n");
        assert_eq!(one(r"a\tb\nc").unwrap(), "a\tb\nc\n");
        let whole = one("json").unwrap();
        assert_eq!(one("{{json .}}").unwrap(), whole);
        assert!(whole.starts_with("{\"ID\":\"s1\""), "{whole}");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(one("{{.Nosuch}}").unwrap_err(), "there is no field .Nosuch to format");
        assert_eq!(one("{{.ID.Deeper}}").unwrap_err(), "there is no field .ID.Deeper to format");
        assert_eq!(one("{{.ID").unwrap_err(), "unclosed action in \"{{.ID\"");
        for wrong in ["{{if .ID}}x{{end}}", "{{ID}}", "{{.a..b}}", "{{range .Spec}}{{.}}{{end}}"] {
            assert!(one(wrong).unwrap_err().contains("is not understood: write {{.Field}}"), "{wrong}");
        }
    }

    #[test]
    fn rows_are_lines_columns_or_objects() {
        let rows = |format: &str| {
            let rows = [["s1".to_owned(), "web".to_owned()], ["s2".to_owned(), "backend-of-web".to_owned()]];
            format.parse::<Format>().unwrap().rows([("ID", "ID"), ("Name", "NAME")], rows).unwrap()
        };
        assert_eq!(rows("{{.Name}}"), "web\nbackend-of-web\n");
        assert_eq!(rows("json"), "{\"ID\":\"s1\",\"Name\":\"web\"}\n{\"ID\":\"s2\",\"Name\":\"backend-of-web\"}\n");
        assert_eq!(
            rows(r"table {{.Name}}\t{{.ID}}"),
            "NAME             ID\nweb              s1\nbackend-of-web   s2\n"
        );
    }
}
