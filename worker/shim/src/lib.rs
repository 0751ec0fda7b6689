//! One single-threaded process per container; the only user of libcontainer.
//!
//! `skep shim --bundle B --dir D` makes the container that bundle `B` describes and stays beside it until it ends.
//! Killing, upgrading or crashing the daemon touches neither. What the daemon needs to talk with a shim is public
//! here: the [`plan`] it is given, the [`protocol`] on its socket, its [`lock`] and the [`exit`] it leaves behind.

pub mod cgroup;
pub mod exit;
pub mod lock;
pub mod plan;
pub mod privileges;
pub mod program;
pub mod protocol;
pub mod seccomp;

mod cgroup_view;
mod client;
mod console;
mod container;
mod detach;
mod devices;
mod init;
mod json_log;
mod keeper;
mod lines;
mod loopback;
mod payload;
mod rootfs;
mod run;
mod sys;
mod timestamp;

pub use run::main;
