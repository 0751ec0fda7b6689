//! The one way to stdout. A reader that goes away (`| head`) is an error value, never a panic.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
};

/// Why nothing more can be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// The reader has closed the output: the command is done.
    #[error("nobody reads the output any more")]
    Closed,
    /// Something else.
    #[error("cannot write the output: {0}")]
    Io(io::Error),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Where a command's output goes. What is printed is out at once.
pub(crate) struct Printer {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Columns of the terminal; `None` when it is none.
    terminal: Option<usize>,
}

impl Printer {
    /// This process's stdout and stderr.
    pub(crate) fn stdio() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal().then(|| {
            // A terminal that does not know its width is taken for a wide one, as in Docker.
            rustix::termios::tcgetwinsize(&stdout).map_or(200, |size| usize::from(size.ws_col))
        });
        Self { out: Box::new(stdout), err: Box::new(io::stderr()), terminal }
    }

    /// Columns of the terminal; `None` when stdout is none.
    pub(crate) const fn terminal(&self) -> Option<usize> {
        self.terminal
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), PrintError> {
        self.text(format_args!("{line}\n"))
    }

    /// Prints text as it is.
    pub(crate) fn text(&mut self, text: impl Display) -> Result<(), PrintError> {
        self.bytes(text.to_string().as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), PrintError> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// Prints a line for the eye beside the output.
    pub(crate) fn error_line(&mut self, line: impl Display) -> Result<(), PrintError> {
        self.error_bytes(format!("{line}\n").as_bytes())
    }

    /// Prints bytes beside the output.
    pub(crate) fn error_bytes(&mut self, bytes: &[u8]) -> Result<(), PrintError> {
        self.err.write_all(bytes)?;
        Ok(self.err.flush()?)
    }
}

/// What a test sees of a command.
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What was printed.
    pub(crate) struct Captured {
        out: Shared,
        err: Shared,
    }

    impl Captured {
        pub(crate) fn out(&self) -> String {
            String::from_utf8(self.out.0.lock().unwrap().clone()).unwrap()
        }

        pub(crate) fn err(&self) -> String {
            String::from_utf8(self.err.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Printer {
        /// A printer whose output can be read again. `terminal` as in [`Printer::terminal`].
        pub(crate) fn captured(terminal: Option<usize>) -> (Self, Captured) {
            let captured = Captured { out: Shared::default(), err: Shared::default() };
            let printer = Self { out: Box::new(captured.out.clone()), err: Box::new(captured.err.clone()), terminal };
            (printer, captured)
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_panic() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut printer = Printer { out: Box::new(writer), err: Box::new(io::sink()), terminal: None };
        assert!(matches!(printer.line("x"), Err(PrintError::Closed)));
    }
}
