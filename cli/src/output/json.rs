//! JSON for people: what the daemon sent, in its order, four spaces a level.

const INDENT: &str = "    ";

/// Lays out JSON anew and changes nothing else: keys keep their order, numbers and strings their spelling.
/// The text must be JSON.
pub(crate) fn indented(json: &str, level: usize) -> String {
    let mut laid = String::with_capacity(json.len() * 2);
    let mut level = level;
    let mut in_string = false;
    let mut chars = json.chars().peekable();
    let line = |laid: &mut String, level: usize| {
        laid.push('\n');
        laid.push_str(&INDENT.repeat(level));
    };
    while let Some(c) = chars.next() {
        if in_string {
            laid.push(c);
            match c {
                '\\' => laid.extend(chars.next()),
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match c {
            '{' | '[' => {
                laid.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match chars.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => laid.push(end),
                    None => {
                        level += 1;
                        line(&mut laid, level);
                    }
                }
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                line(&mut laid, level);
                laid.push(c);
            }
            ',' => {
                laid.push(c);
                line(&mut laid, level);
            }
            ':' => laid.push_str(": "),
            '"' => {
                in_string = true;
                laid.push(c);
            }
            c if c.is_ascii_whitespace() => {}
            c => laid.push(c),
        }
    }
    laid
}

/// A list of JSON texts as one JSON text, as `inspect` commands print it.
pub(crate) fn list(items: &[String]) -> String {
    if items.is_empty() {
        return "[]".to_owned();
    }
    let items: Vec<String> = items.iter().map(|item| format!("{INDENT}{}", indented(item, 1))).collect();
    format!("[\n{}\n]", items.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_spelling_stay() {
        let json = r#"{"b":1.50,"a":[ ],"s":"x{\"\\[,:é","l":[{"k":null},2],"e":{}}"#;
        let expected = "[
    {
        \"b\": 1.50,
        \"a\": [],
        \"s\": \"x{\\\"\\\\[,:é\",
        \"l\": [
            {
                \"k\": null
            },
            2
        ],
        \"e\": {}
    }
]";
        assert_eq!(list(&[json.to_owned()]), expected);
        assert_eq!(list(&[]), "[]");
        assert_eq!(list(&["{}".to_owned(), "[]".to_owned()]), "[\n    {},\n    []\n]");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&indented(json, 0)), value(json));
    }
}
