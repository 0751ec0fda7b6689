//! Base36 (`0-9a-z`) of big-endian byte strings, zero-padded to a fixed width: the alphabet of ids and join tokens.

use zeroize::Zeroize;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `bytes` as a big-endian number in base36, padded on the left with zeros to `width` characters.
/// The caller picks a width that holds the number: 25 for 128 bits, 50 for 256.
pub(crate) fn encode(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = (value / 36) as u8;
            remainder = value % 36;
        }
        *digit = DIGITS[remainder as usize];
    }
    debug_assert!(number.iter().all(|b| *b == 0), "{width} characters do not hold {} bytes", bytes.len());
    number.zeroize();
    digits.into_iter().map(char::from).collect()
}

/// The `N`-byte number that `text` writes, or `None` when a character is no digit or the number does not fit.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut number = [0u8; N];
    for byte in text.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        let mut carry = u32::from(digit);
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(encode(&[0; 16], 25), "0".repeat(25));
        assert_eq!(encode(&[35], 2), "0z");
        assert_eq!(encode(&[36], 2), "10");
        // 2^128 - 1
        assert_eq!(encode(&[0xff; 16], 25), "f5lxx1zz5pnorynqglhzmsp33");
        assert_eq!(decode::<16>("f5lxx1zz5pnorynqglhzmsp33"), Some([0xff; 16]));
    }

    #[test]
    fn what_does_not_fit_or_is_no_digit_is_refused() {
        assert_eq!(decode::<16>("f5lxx1zz5pnorynqglhzmsp34"), None);
        assert_eq!(decode::<16>(&"z".repeat(25)), None);
        assert_eq!(decode::<1>("A"), None);
        assert_eq!(decode::<1>("-1"), None);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(bytes: [u8; 32]) {
            let text = encode(&bytes, 50);
            prop_assert_eq!(text.len(), 50);
            prop_assert_eq!(decode::<32>(&text), Some(bytes));
        }
    }
}
