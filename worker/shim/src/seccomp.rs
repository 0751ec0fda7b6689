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

    /// `SECCOMP_RET_ALLOW` and `SECCOMP_RET_ERRNO` of linux/seccomp.h.
    const ALLOWED: u32 = 0x7fff_0000;
    const FAILS_WITH: u32 = 0x0005_0000;

    /// What a filter says to a call, as the kernel would ask it: classic BPF over `struct seccomp_data`.
    fn verdict(filter: &[u8], call: &str, arguments: [u64; 6]) -> u32 {
        let number = i32::from(ScmpSyscall::from_name(call).unwrap());
        let architecture: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let mut data = Vec::new();
        data.extend(number.to_ne_bytes());
        data.extend(architecture.to_ne_bytes());
        data.extend([0; 8]);
        arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));

        let (mut at, mut value) = (0_usize, 0_u32);
        loop {
            let instruction = &filter[at * 8..at * 8 + 8];
            let code = u16::from_ne_bytes([instruction[0], instruction[1]]);
            let k = u32::from_ne_bytes(instruction[4..8].try_into().unwrap());
            let branch = |taken: bool| usize::from(if taken { instruction[2] } else { instruction[3] });
            at += 1;
            match code {
                0x20 => value = u32::from_ne_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
                0x54 => value &= k,
                0x05 => at += k as usize,
                0x15 => at += branch(value == k),
                0x25 => at += branch(value > k),
                0x35 => at += branch(value >= k),
                0x45 => at += branch(value & k != 0),
                0x06 => return k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn a_filter_decides_by_call_and_argument() {
        let allow = |calls: &[&'static str], when| Rule { calls: calls.to_vec(), action: Action::Allow, when };
        let of = |argument, test| Some(Condition { argument, test });
        let rules = [
            allow(&["read", "getpid"], None),
            allow(&["socket"], of(0, Test::IsNot(40))),
            allow(&["personality"], of(0, Test::Is(8))),
            allow(&["clone"], of(1, Test::NoneOf(0x7e02_0000))),
            Rule { calls: vec!["clone3"], action: Action::Errno(38), when: None },
        ];
        let filter = compile(&["SCMP_ARCH_NATIVE"], &rules).unwrap();
        let table = [
            ("read", [0; 6], ALLOWED),
            ("getpid", [0; 6], ALLOWED),
            ("write", [0; 6], FAILS_WITH | 1),
            ("mount", [0; 6], FAILS_WITH | 1),
            ("clone3", [0; 6], FAILS_WITH | 38),
            ("socket", [2, 0, 0, 0, 0, 0], ALLOWED),
            ("socket", [40, 0, 0, 0, 0, 0], FAILS_WITH | 1),
            ("personality", [8, 0, 0, 0, 0, 0], ALLOWED),
            ("personality", [9, 0, 0, 0, 0, 0], FAILS_WITH | 1),
            ("clone", [0x7e02_0000, 0x11, 0, 0, 0, 0], ALLOWED),
            ("clone", [0, 0x0002_0011, 0, 0, 0, 0], FAILS_WITH | 1),
            ("clone", [0, 0x1000_0000, 0, 0, 0, 0], FAILS_WITH | 1),
        ];
        for (call, arguments, want) in table {
            assert_eq!(verdict(&filter, call, arguments), want, "{call} {arguments:x?}");
        }
    }
}
