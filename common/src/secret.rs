//! Values that must not leak by accident: private keys, token secrets, data keys.
//!
//! A [`Secret`] cannot be printed or serialized, and its memory is wiped when it is dropped. Reading it is one
//! word, [`Secret::expose`], which a reviewer can search for.

use std::fmt;

use zeroize::Zeroize;

/// A value that says of itself only that it exists.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Do not store what this returns.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Lets a struct that holds a secret derive `Debug`; shows nothing of it.
impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    #[test]
    fn debug_shows_nothing() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read by Debug")]
        struct Holder {
            key: Secret<String>,
        }
        let holder = Holder { key: Secret::new("hunter2".into()) };
        assert_eq!(format!("{holder:?}"), "Holder { key: Secret }");
    }

    #[test]
    fn dropping_wipes() {
        struct Probe(Rc<Cell<bool>>);
        impl Zeroize for Probe {
            fn zeroize(&mut self) {
                self.0.set(true);
            }
        }
        let wiped = Rc::new(Cell::new(false));
        drop(Secret::new(Probe(wiped.clone())));
        assert!(wiped.get());
    }
}
