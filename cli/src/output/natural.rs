//! Order as people count: `web.2` before `web.10`.

use std::cmp::Ordering;

/// Compares runs of digits by their value and everything else byte by byte.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a, b) {
            ([], []) => return Ordering::Equal,
            ([], _) => return Ordering::Less,
            (_, []) => return Ordering::Greater,
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (left, right) = (digits(&mut a), digits(&mut b));
                // Without leading zeros the longer number is the greater; among equals the shorter spelling comes first.
                let order =
                    left.1.len().cmp(&right.1.len()).then_with(|| left.1.cmp(right.1)).then(left.0.cmp(&right.0));
                if order.is_ne() {
                    return order;
                }
            }
            ([x, rest_a @ ..], [y, rest_b @ ..]) => {
                if x != y {
                    return x.cmp(y);
                }
                (a, b) = (rest_a, rest_b);
            }
        }
    }
}

/// Takes the number at the beginning: how many digits it has, and those behind the leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().position(|byte| *byte != b'0').unwrap_or(end);
    (end, &number[zeros..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count() {
        let mut names = ["n10", "n2", "n02", "n1", "m", "web.2", "web.10", "web", "n2a", ""];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["", "m", "n1", "n2", "n2a", "n02", "n10", "web", "web.2", "web.10"]);
    }
}
