//! Which devices a container may open, where cgroups are version 2.
//!
//! Version 1 has a controller for it, which libcontainer sets. Version 2 has none: a small program answers the kernel's
//! question at every open and mknod (`BPF_PROG_TYPE_CGROUP_DEVICE`). Without it a container could make itself the node of
//! the host's disk and read it. The rules are those of every container: any node may be made, few can be opened.

use std::{fs::File, io, os::fd::AsFd as _, path::Path};

use crate::sys;

/// Character devices that may be opened, by major and minor number; `None` = every minor.
const OPEN: [(i32, Option<i32>); 9] = [
    (1, Some(3)), // null
    (1, Some(5)), // zero
    (1, Some(7)), // full
    (1, Some(8)), // random
    (1, Some(9)), // urandom
    (5, Some(0)), // tty
    (5, Some(1)), // console
    (5, Some(2)), // ptmx
    (136, None),  // pseudo-terminals
];

/// `BPF_DEVCG_ACC_MKNOD`, `BPF_DEVCG_DEV_CHAR` of linux/bpf.h.
const MKNOD: i32 = 1;
const CHARACTER: i32 = 2;

/// Confines the processes of a version 2 cgroup to the devices above.
pub(crate) fn confine(cgroup: &Path) -> io::Result<()> {
    let dir = File::open(cgroup)?;
    let program = sys::load_device_program(&program())?;
    sys::attach_device_program(dir.as_fd(), program.as_fd())
}

/// An instruction: opcode, registers, jump offset, number (`struct bpf_insn`).
pub(crate) type Instruction = (u8, u8, i16, i32);

/// The registers the question is taken apart into.
const ACCESS: u8 = 5;
const KIND: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;

/// The program: 1 allows, 0 denies. Its context is `struct bpf_cgroup_dev_ctx`: access << 16 | kind, major, minor.
fn program() -> Vec<Instruction> {
    let load = |register: u8, offset: i16| (0x61, 0x10 | register, offset, 0);
    let unless = |register: u8, number: i32, skip: i16| (0x55, register, skip, number);
    let answer = |number: i32| [(0xb7, 0, 0, number), (0x95, 0, 0, 0)];

    let mut program = vec![
        load(KIND, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        (0xbf, KIND << 4 | ACCESS, 0, 0), // access = kind
        (0x77, ACCESS, 0, 16),            // access >>= 16
        (0x57, KIND, 0, 0xffff),          // kind &= 0xffff
    ];
    program.push(unless(ACCESS, MKNOD, 2));
    program.extend(answer(1));
    program.push((0x15, KIND, 2, CHARACTER));
    program.extend(answer(0));
    for (major, minor) in OPEN {
        let check_minor = minor.map(|minor| unless(MINOR, minor, 2));
        program.push(unless(MAJOR, major, if check_minor.is_some() { 3 } else { 2 }));
        program.extend(check_minor);
        program.extend(answer(1));
    }
    program.extend(answer(0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allows(access: i32, kind: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let (mut registers, mut at) = ([0_i32; 16], 0_usize);
        let program = program();
        loop {
            let (code, pair, offset, number) = program[at];
            let (target, source) = (usize::from(pair & 0xf), usize::from(pair >> 4));
            at += 1;
            let mut jump = false;
            match code {
                0x61 => registers[target] = context[usize::try_from(offset).unwrap() / 4],
                0xbf => registers[target] = registers[source],
                0xb7 => registers[target] = number,
                0x77 => registers[target] >>= number,
                0x57 => registers[target] &= number,
                0x55 => jump = registers[target] != number,
                0x15 => jump = registers[target] == number,
                0x95 => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
            if jump {
                at += usize::try_from(offset).unwrap();
            }
        }
    }

    #[test]
    fn nodes_may_be_made_and_few_opened() {
        let (block, read, write) = (1, 2, 4);
        assert!(allows(MKNOD, block, 8, 0) && allows(MKNOD, CHARACTER, 1, 1));
        assert!(!allows(read, block, 8, 0), "the disk");
        assert!(!allows(write, CHARACTER, 1, 1), "memory");
        assert!(!allows(read | MKNOD, block, 8, 0), "made and opened at once");
        for (minor, open) in [(3, true), (4, false), (5, true), (8, true), (11, false)] {
            assert_eq!(allows(read | write, CHARACTER, 1, minor), open, "1:{minor}");
        }
        assert!(allows(read | write, CHARACTER, 136, 77) && allows(read, CHARACTER, 5, 2));
        assert!(!allows(read, CHARACTER, 137, 0) && !allows(read, CHARACTER, 5, 3));
    }

    #[test]
    fn the_kernel_takes_the_program() {
        sys::load_device_program(&program()).unwrap();
    }
}
