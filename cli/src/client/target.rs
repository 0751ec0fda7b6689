//! What a request is for: path and query, escaped.

use std::fmt::Write as _;

use skep_dockerapi::filters::Filters;

/// A path below the API version, and its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    path: String,
    query: String,
}

impl Target {
    /// The path made of these segments.
    pub(crate) fn new(segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            escape(segment, &mut path);
        }
        Self { path, query: String::new() }
    }

    /// With one parameter more.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        escape(name, &mut self.query);
        self.query.push('=');
        escape(value, &mut self.query);
        self
    }

    /// With one parameter more, when it is set.
    pub(crate) fn with_flag(self, name: &str, set: bool) -> Self {
        if set { self.with(name, "true") } else { self }
    }

    /// With these filters, when there are any.
    pub(crate) fn filtered(self, filters: &Filters) -> Self {
        match filters.to_parameter() {
            Some(parameter) => self.with("filters", &parameter),
            None => self,
        }
    }

    pub(super) fn path(&self, version: &str) -> String {
        format!("/v{version}{}{}", self.path, self.query)
    }
}

/// Everything but RFC 3986's unreserved characters becomes `%XX`.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => into.push(char::from(byte)),
            other => {
                let _ = write!(into, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_can_change_the_path() {
        let target = Target::new(&["services", "a/../b?c=d #é", "update"]).with("version", "3").with("x y", "a&b=c");
        assert_eq!(
            target.path("1.46"),
            "/v1.46/services/a%2F..%2Fb%3Fc%3Dd%20%23%C3%A9/update?version=3&x%20y=a%26b%3Dc"
        );
    }

    #[test]
    fn filters_are_a_parameter_only_when_there_are_some() {
        let mut filters = Filters::default();
        assert_eq!(Target::new(&["tasks"]).filtered(&filters).path("1.46"), "/v1.46/tasks");
        filters.add("service", "s1");
        let path = Target::new(&["tasks"]).filtered(&filters).path("1.46");
        assert_eq!(path, "/v1.46/tasks?filters=%7B%22service%22%3A%7B%22s1%22%3Atrue%7D%7D");
    }
}
