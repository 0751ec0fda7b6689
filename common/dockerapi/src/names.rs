//! Image names as a list filter sees them.

/// Whether `pattern` (with `*`, `?` and `[a-z]`, none of which crosses a `/`) fits an image's familiar name, with or
/// without its tag: `busybox`, `busy*`, `busybox:1.*`.
pub fn reference_matches(pattern: &str, tag: &str) -> bool {
    let repository = match tag.rsplit_once(':') {
        Some((repository, version)) if !version.contains('/') => repository,
        _ => tag,
    };
    glob(pattern.as_bytes(), tag.as_bytes()) || glob(pattern.as_bytes(), repository.as_bytes())
}

/// Whether every class of a pattern has an end.
pub fn is_pattern(pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some((_, class)) = rest.split_once('[') {
        match class.split_once(']') {
            Some((members, after)) if !members.is_empty() => rest = after,
            _ => return false,
        }
    }
    true
}

/// One step of the pattern against one step of the text; after a mismatch the last star takes one byte more, so the
/// time is at most the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') if text[t] != b'/' => Some(1),
            Some(b'[') => class(&pattern[p..], text[t]),
            Some(byte) if *byte == text[t] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((at, taken))) if text[taken] != b'/' => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (None, _) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern a class that holds `byte` takes.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let mut members = &pattern[1..end];
    let negated = members.first() == Some(&b'^');
    if negated {
        members = &members[1..];
    }
    let mut held = false;
    while let [first, rest @ ..] = members {
        members = match rest {
            [b'-', last, rest @ ..] => {
                held |= (*first..=*last).contains(&byte);
                rest
            }
            rest => {
                held |= *first == byte;
                rest
            }
        };
    }
    (held != negated && byte != b'/').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_class_has_an_end() {
        for (pattern, is) in
            [("a", true), ("[a-z]*", true), ("[[a]x]", true), ("[", false), ("a[b", false), ("[]", false)]
        {
            assert_eq!(is_pattern(pattern), is, "{pattern}");
        }
    }

    #[test]
    fn patterns() {
        let table = [
            ("busybox", "busybox:1.35", true),
            ("busybox:1.35", "busybox:1.35", true),
            ("busybox:1.36", "busybox:1.35", false),
            ("busy*", "busybox:1.35", true),
            ("*box:1.*", "busybox:1.35", true),
            ("b?sybox", "busybox:1.35", true),
            ("*", "busybox:1.35", true),
            ("*", "skep/demo:1", false),
            ("*/*", "skep/demo:1", true),
            ("skep/d[a-f]mo", "skep/demo:1", true),
            ("skep/d[^a-f]mo", "skep/demo:1", false),
            ("host:5000/x", "host:5000/x", true),
            ("", "busybox:1", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(reference_matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_fits_itself_and_no_pattern_is_too_strange(name in "[a-z0-9/:._-]{0,20}", pattern in "[a-c*?\\[\\]^-]{0,12}") {
            prop_assert!(reference_matches(&name, &name));
            let _ = reference_matches(&pattern, &name);
        }
    }
}
