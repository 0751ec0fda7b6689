//! Progress of several things at once, a line each. On a terminal every line is drawn again in place; elsewhere a line
//! is printed when it says something new.
//!
//! Owns what each line last said. Escape sequences and layout are those of Docker's CLI.

use super::{PrintError, Printer};

/// A bar needs a terminal wider than this.
const BAR_MIN_TERMINAL: usize = 110;

/// Characters of a full bar.
const BAR_WIDTH: u64 = 50;

/// How far something is, for a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Done.
    pub(crate) current: u64,
    /// In all.
    pub(crate) total: u64,
}

/// The lines.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Name and text, in the order they appeared.
    lines: Vec<(String, String)>,
}

impl Progress {
    /// Says what goes on with `name`.
    pub(crate) fn say(&mut self, printer: &mut Printer, name: &str, text: &str) -> Result<(), PrintError> {
        self.draw(printer, name, text.to_owned())
    }

    /// The same with a bar; bars are for terminals only, so elsewhere this says nothing.
    pub(crate) fn step(
        &mut self,
        printer: &mut Printer,
        name: &str,
        text: &str,
        share: Share,
    ) -> Result<(), PrintError> {
        match printer.terminal() {
            Some(width) => self.draw(printer, name, format!("{text} {}", bar(share, width))),
            None => Ok(()),
        }
    }

    /// Prints a line that belongs to none of these; those above it stay as they are.
    pub(crate) fn remark(&mut self, printer: &mut Printer, text: &str) -> Result<(), PrintError> {
        self.lines.clear();
        printer.line(text)
    }

    fn draw(&mut self, printer: &mut Printer, name: &str, text: String) -> Result<(), PrintError> {
        let place = self.lines.iter().position(|(known, _)| known == name);
        if place.is_some_and(|at| self.lines[at].1 == text) {
            return Ok(());
        }
        let drawn = match printer.terminal() {
            None => format!("{name}: {text}\n"),
            Some(_) => {
                // The cursor rests below the last line.
                let (new_line, up) = match place {
                    Some(at) => ("", self.lines.len() - at),
                    None => ("\n", 1),
                };
                format!("{new_line}\x1b[{up}A\x1b[2K\r{name}: {text}\r\x1b[{up}B")
            }
        };
        match place {
            Some(at) => self.lines[at].1 = text,
            None => self.lines.push((name.to_owned(), text)),
        }
        printer.text(drawn)
    }
}

fn bar(share: Share, terminal: usize) -> String {
    if terminal <= BAR_MIN_TERMINAL {
        return String::new();
    }
    let full = (share.current.saturating_mul(100) / share.total.max(1) / 2).min(BAR_WIDTH) as usize;
    format!("[{}>{}] ", "=".repeat(full), " ".repeat(BAR_WIDTH as usize - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_drawn_in_place() {
        let (mut printer, captured) = Printer::captured(Some(80));
        let mut progress = Progress::default();
        progress.say(&mut printer, "overall progress", "0 out of 1 tasks").unwrap();
        progress.step(&mut printer, "1/1", "new      ", Share { current: 1, total: 9 }).unwrap();
        progress.say(&mut printer, "overall progress", "1 out of 1 tasks").unwrap();
        progress.say(&mut printer, "overall progress", "1 out of 1 tasks").unwrap();
        let expected = "\n\x1b[1A\x1b[2K\roverall progress: 0 out of 1 tasks\r\x1b[1B\
                        \n\x1b[1A\x1b[2K\r1/1: new       \r\x1b[1B\
                        \x1b[2A\x1b[2K\roverall progress: 1 out of 1 tasks\r\x1b[2B";
        assert_eq!(captured.out(), expected);
    }

    #[test]
    fn elsewhere_only_news_are_printed() {
        let (mut printer, captured) = Printer::captured(None);
        let mut progress = Progress::default();
        progress.say(&mut printer, "a", "1").unwrap();
        progress.say(&mut printer, "a", "1").unwrap();
        progress.step(&mut printer, "b", "new", Share { current: 1, total: 9 }).unwrap();
        progress.say(&mut printer, "a", "2").unwrap();
        progress.remark(&mut printer, "over").unwrap();
        assert_eq!(captured.out(), "a: 1\na: 2\nover\n");
    }

    #[test]
    fn bars() {
        let bar = |current, total, terminal| super::bar(Share { current, total }, terminal);
        assert_eq!(bar(9, 9, 110), "");
        assert_eq!(bar(9, 9, 111), format!("[{}>] ", "=".repeat(50)));
        assert_eq!(bar(1, 9, 200), format!("[{}>{}] ", "=".repeat(5), " ".repeat(45)));
        assert_eq!(bar(0, 0, 200), format!("[>{}] ", " ".repeat(50)));
    }
}
