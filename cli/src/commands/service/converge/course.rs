//! Messages about the update under way, for a user who waits for it. Pure.

use anyhow::{Result, bail};
use skep_dockerapi::types::UpdateStatus;

/// Where the update has come to, look by look.
#[derive(Debug, Default)]
pub(super) struct Course {
    rollback: bool,
    over: bool,
    /// How the rollback ended, when it was over before the service had converged.
    end: Option<String>,
}

impl Course {
    /// Takes in the status at one look: the message of a rollback that was not there before. A status of `completed`
    /// while the service has not converged is the end of the wait: what happens since is not the update's doing.
    ///
    /// # Errors
    /// When the update, or the rollback, has stopped.
    pub(super) fn follow(&mut self, status: Option<&UpdateStatus>, converged: bool) -> Result<Option<String>> {
        let Some(UpdateStatus { state, message, .. }) = status else { return Ok(None) };
        match state.as_str() {
            "updating" => self.rollback = false,
            "completed" => self.over = !converged,
            "paused" => bail!("service update paused: {message}"),
            "rollback_paused" => bail!("service rollback paused: {message}"),
            "rollback_started" => {
                let before = std::mem::replace(&mut self.rollback, true);
                return Ok((!before && !message.is_empty()).then(|| message.clone()));
            }
            "rollback_completed" => {
                self.rollback = true;
                if !converged {
                    self.end = Some(message.clone());
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Whether what is watched is a rollback.
    pub(super) fn is_rollback(&self) -> bool {
        self.rollback
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What to say at the very end.
    pub(super) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str) -> UpdateStatus {
        UpdateStatus { state: state.to_owned(), message: format!("{state}!"), ..UpdateStatus::default() }
    }

    #[test]
    fn a_rollback_is_said_once() {
        let mut course = Course::default();
        assert_eq!(course.follow(None, false).unwrap(), None);
        assert_eq!(course.follow(Some(&status("updating")), false).unwrap(), None);
        assert!(!course.is_rollback());
        let begun = course.follow(Some(&status("rollback_started")), false).unwrap();
        assert_eq!(begun.as_deref(), Some("rollback_started!"));
        assert_eq!(course.follow(Some(&status("rollback_started")), false).unwrap(), None);
        assert!(course.is_rollback() && course.end().is_none());
        assert_eq!(course.follow(Some(&status("rollback_completed")), false).unwrap(), None);
        assert_eq!(course.end(), Some("rollback_completed!"));
    }

    #[test]
    fn an_update_that_stops_is_an_error_and_one_that_is_over_the_end() {
        for (state, says) in [
            ("paused", "service update paused: paused!"),
            ("rollback_paused", "service rollback paused: rollback_paused!"),
        ] {
            assert_eq!(Course::default().follow(Some(&status(state)), true).unwrap_err().to_string(), says);
        }
        for (converged, over) in [(true, false), (false, true)] {
            let mut course = Course::default();
            course.follow(Some(&status("completed")), converged).unwrap();
            assert_eq!(course.is_over(), over);
        }
    }
}
