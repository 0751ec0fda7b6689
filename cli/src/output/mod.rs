//! How things are shown: Docker's layout, as pure text wherever that can be.

pub(crate) mod format;
pub(crate) mod json;
pub(crate) mod natural;
pub(crate) mod pretty;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod units;

pub(crate) use self::{
    format::Format,
    printer::{PrintError, Printer},
    progress::Progress,
    table::Table,
};
