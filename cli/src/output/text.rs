//! Small things Docker does to words before it shows them.

use skep_common::validate::ImageRef;

/// Ids are shown this short.
const SHORT_ID: usize = 12;

/// The beginning of an id, enough to tell it from others; without the algorithm of a digest.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.char_indices().nth(SHORT_ID).map_or(id, |(end, _)| &id[..end])
}

/// At most `width` characters, the last one an ellipsis when there were more.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `ready` → `Ready`, and everything behind the first letter small.
pub(crate) fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect())
}

/// An image's name as a table shows it: without the digest, where there is a tag.
pub(crate) fn image_name(image: &str) -> String {
    match ImageRef::parse(image) {
        Ok(reference) if reference.tag().is_some() => {
            reference.familiar().split('@').next().unwrap_or(image).to_owned()
        }
        _ => image.to_owned(),
    }
}

/// `key=value`, or `key` alone when the value is empty.
pub(crate) fn pair(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key}={value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened() {
        assert_eq!(short_id("tnrrr8ihacn5abcdefghijklm"), "tnrrr8ihacn5");
        assert_eq!(short_id("sha256:c500000000000000"), "c50000000000");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(ellipsis("no suitable node (scheduling constraints)", 30), "no suitable node (scheduling …");
        assert_eq!(ellipsis("köln", 4), "köln");
        assert_eq!(ellipsis("kölner", 4), "köl…");
    }

    #[test]
    fn reworded() {
        assert_eq!(capitalized("ready"), "Ready");
        assert_eq!(capitalized("2024-05-06 +0000 UTC"), "2024-05-06 +0000 utc");
        assert_eq!(capitalized(""), "");
        assert_eq!(pair("a", "b"), "a=b");
        assert_eq!(pair("a", ""), "a");
    }

    #[test]
    fn images_lose_their_digest_only_beside_a_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(image_name(&format!("nginx:1@{digest}")), "nginx:1");
        assert_eq!(image_name(&format!("host:5000/x/y:1@{digest}")), "host:5000/x/y:1");
        assert_eq!(image_name(&format!("nginx@{digest}")), format!("nginx@{digest}"));
        assert_eq!(image_name("docker.io/library/nginx:1"), "nginx:1");
        assert_eq!(image_name("NOT an image"), "NOT an image");
    }
}
