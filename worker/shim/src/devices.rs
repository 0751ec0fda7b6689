//! Which devices a container may open.
//!
//! Version 1 of cgroups has a controller for it, which libcontainer sets. Version 2 has none: a small program answers the kernel's
//! question at every open and mknod (`BPF_PROG_TYPE_CGROUP_DEVICE`). Without it a container could make itself the node of
//! the host's disk and read it. The rules are those of every container: any node may be made, few can be opened.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
};

use crate::{
    cgroup::{self, Cgroup},
    sys,
};

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

/// Confines the processes of a cgroup to the devices above, or makes sure that it was done.
///
/// # Errors
/// It cannot be done: a container must not run then.
pub(crate) fn confine(cgroup: &Cgroup) -> io::Result<()> {
    let unconfined = |reason: String| io::Error::other(format!("cannot confine the container's devices: {reason}"));
    let unified = cgroup::is_unified()?;
    let group = cgroup.groups().iter().find(|group| if unified { group.unified } else { group.has("devices") });
    let group = group.ok_or_else(|| unconfined("the host has no cgroups for it".to_owned()))?;
    if unified {
        let attached = || {
            let program = sys::load_device_program(&program())?;
            sys::attach_device_program(File::open(&group.dir)?.as_fd(), program.as_fd())
        };
        return attached().map_err(|error: io::Error| unconfined(error.to_string()));
    }
    // libcontainer allows one more than there are above: the maker of network tunnels.
    fs::write(group.dir.join("devices.deny"), "c 10:200 rwm").map_err(|error| unconfined(error.to_string()))?;
    let allowed = fs::read_to_string(group.dir.join("devices.list")).map_err(|error| unconfined(error.to_string()))?;
    if allowed.lines().any(|line| line.starts_with("a ")) {
        return Err(unconfined("all are allowed".to_owned()));
    }
    Ok(())
}

/// Instructions, as linux/bpf.h and bpf_common.h put their codes together.
mod code {
    /// `BPF_LDX | BPF_MEM | BPF_W`: target = the word at source + offset.
    pub(super) const LOAD: u8 = 0x61;
    /// `BPF_ALU64 | BPF_MOV`, from a register and of a number.
    pub(super) const COPY: u8 = 0xbf;
    pub(super) const SET: u8 = 0xb7;
    /// `BPF_ALU64 | BPF_RSH` and `BPF_AND`, by a number.
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    pub(super) const AND: u8 = 0x57;
    /// `BPF_JMP | BPF_JNE` and `BPF_JEQ`, against a number.
    pub(super) const JUMP_UNLESS: u8 = 0x55;
    pub(super) const JUMP_IF: u8 = 0x15;
    /// `BPF_JMP | BPF_EXIT`: register 0 is the answer.
    pub(super) const EXIT: u8 = 0x95;
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
    let load = |register: u8, offset: i16| (code::LOAD, 0x10 | register, offset, 0);
    let unless = |register: u8, number: i32, skip: i16| (code::JUMP_UNLESS, register, skip, number);
    let answer = |number: i32| [(code::SET, 0, 0, number), (code::EXIT, 0, 0, 0)];

    let mut program = vec![
        load(KIND, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        (code::COPY, KIND << 4 | ACCESS, 0, 0),
        (code::SHIFT_RIGHT, ACCESS, 0, 16),
        (code::AND, KIND, 0, 0xffff),
    ];
    program.push(unless(ACCESS, MKNOD, 2));
    program.extend(answer(1));
    program.push((code::JUMP_IF, KIND, 2, CHARACTER));
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
            let (operation, pair, offset, number) = program[at];
            let (target, source) = (usize::from(pair & 0xf), usize::from(pair >> 4));
            at += 1;
            let mut jump = false;
            match operation {
                code::LOAD => registers[target] = context[usize::try_from(offset).unwrap() / 4],
                code::COPY => registers[target] = registers[source],
                code::SET => registers[target] = number,
                code::SHIFT_RIGHT => registers[target] >>= number,
                code::AND => registers[target] &= number,
                code::JUMP_UNLESS => jump = registers[target] != number,
                code::JUMP_IF => jump = registers[target] == number,
                code::EXIT => return registers[0] == 1,
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
