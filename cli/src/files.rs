//! How many files the daemon may have open.
//!
//! A manager of a large swarm has a connection for every node, and more while strangers come; what a process is given to
//! begin with (often 1,024) is less than that. Containers must not notice: programs that walk all the descriptors they may
//! have take minutes when that is a million, so the shims are told what the daemon was given.

use std::{ffi::OsString, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The shim's option, in front of all its own, for the limit it and its container begin with.
pub(crate) const SHIM_OPTION: &str = "--open-files";

/// Raises the limit as far as this process may, and returns what it was.
///
/// # Errors
/// When the system refuses; the limit is then what it was.
pub(crate) fn raise() -> io::Result<Option<u64>> {
    let before = getrlimit(Resource::Nofile);
    set(before.maximum)?;
    Ok(before.current)
}

/// Takes the option, if it is there, out of a shim's arguments, and does as it says.
///
/// # Errors
/// When it is not a number, or the system refuses.
pub(crate) fn restore(mut words: impl Iterator<Item = OsString>) -> io::Result<impl Iterator<Item = OsString>> {
    let mut first = words.next();
    if first.as_ref().is_some_and(|word| word == SHIM_OPTION) {
        let number = words.next().and_then(|word| word.to_str()?.parse().ok());
        set(Some(number.ok_or(io::ErrorKind::InvalidInput)?))?;
        first = words.next();
    }
    Ok(first.into_iter().chain(words))
}

fn set(current: Option<u64>) -> io::Result<()> {
    setrlimit(Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the limit is the whole process's.
    #[test]
    fn a_shim_begins_with_what_the_daemon_was_given() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        let given = Some(64);
        set(given).unwrap();
        assert_eq!(raise().unwrap(), given);
        let raised = getrlimit(Resource::Nofile);
        assert_eq!(raised.current, raised.maximum);

        let rest = restore(words(&["--bundle", "/b"])).unwrap();
        assert!(rest.eq(words(&["--bundle", "/b"])));
        assert_eq!(getrlimit(Resource::Nofile), raised, "nothing was said");
        let rest = restore(words(&[SHIM_OPTION, "64", "--bundle", "/b"])).unwrap();
        assert!(rest.eq(words(&["--bundle", "/b"])));
        assert_eq!(getrlimit(Resource::Nofile).current, given);
        assert_eq!(getrlimit(Resource::Nofile).maximum, raised.maximum, "a container may raise it again");
        assert!(restore(words(&[SHIM_OPTION, "many"])).is_err());
    }
}
