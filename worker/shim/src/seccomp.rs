//! Compiles seccomp profiles to the kernel's filter programs.
//!
//! Compiling costs more than all the rest of a container's start, and every container with the same capabilities has
//! the same profile. So the daemon compiles each once, with this, and a shim only loads the result.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError,
};
use rustix::fs::{MemfdFlags, memfd_create};

/// What a system call that no rule names fails with.
const EPERM: i32 = 1;
/// Search the calls as a tree and not one after the other.
const BINARY_TREE: u32 = 2;

/// What becomes of some system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Their names; one this machine does not have is passed over.
    pub calls: Vec<&'static str>,
    /// What happens to them.
    pub action: Action,
    /// On which argument it depends; `None` = on none.
    pub when: Option<Condition>,
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is done.
    Allow,
    /// It fails with this errno.
    Errno(i32),
}

/// A test of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u32,
    /// What must hold of it.
    pub test: Test,
}

/// What must hold of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// It is this number.
    Is(u64),
    /// It is any other.
    IsNot(u64),
    /// It has none of these bits.
    NoneOf(u64),
}

/// Compiles rules for these architectures (`SCMP_ARCH_…`). Gives the filter as the kernel takes it: an array of
/// `struct sock_filter` in the machine's byte order. What no rule names fails with EPERM.
///
/// # Errors
/// libseccomp does not know an architecture, or rejects a rule.
pub fn compile(architectures: &[&str], rules: &[Rule]) -> io::Result<Vec<u8>> {
    let filter = build(architectures, rules).map_err(io::Error::other)?;
    let mut file = File::from(memfd_create("seccomp", MemfdFlags::CLOEXEC)?);
    filter.export_bpf(&file).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn build(architectures: &[&str], rules: &[Rule]) -> Result<ScmpFilterContext, SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(EPERM))?;
    for architecture in architectures {
        filter.add_arch(architecture.parse::<ScmpArch>()?)?;
    }
    // Only a matter of speed, and unknown to old versions of the library.
    let _ = filter.set_ctl_optimize(BINARY_TREE);
    for rule in rules {
        let action = match rule.action {
            Action::Allow => ScmpAction::Allow,
            Action::Errno(errno) => ScmpAction::Errno(errno),
        };
        for call in rule.calls.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            match rule.when {
                None => filter.add_rule(action, call)?,
                Some(condition) => filter.add_rule_conditional(action, call, &[comparison(condition)])?,
            };
        }
    }
    Ok(filter)
}

fn comparison(condition: Condition) -> ScmpArgCompare {
    let (op, value) = match condition.test {
        Test::Is(value) => (ScmpCompareOp::Equal, value),
        Test::IsNot(value) => (ScmpCompareOp::NotEqual, value),
        Test::NoneOf(mask) => (ScmpCompareOp::MaskedEqual(mask), 0),
    };
    ScmpArgCompare::new(condition.argument, op, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_whole_instructions() {
        let rule = |calls: &[&'static str], when| Rule { calls: calls.to_vec(), action: Action::Allow, when };
        let socket = Condition { argument: 0, test: Test::IsNot(40) };
        let plain = compile(&["SCMP_ARCH_NATIVE"], &[rule(&["read", "no_such_call"], None)]).unwrap();
        let more = compile(&["SCMP_ARCH_NATIVE"], &[rule(&["read"], None), rule(&["socket"], Some(socket))]).unwrap();
        assert!(!plain.is_empty() && plain.len().is_multiple_of(8));
        assert!(more.len() > plain.len());
        assert!(compile(&["SCMP_ARCH_ABACUS"], &[]).is_err());
    }
}
