//! `Debug` for the messages that hold secrets: it says that there is one, never which.

use std::fmt;

use crate::v1::{IssueCertificateRequest, JoinTokens, RootCa};

impl fmt::Debug for RootCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCa").finish_non_exhaustive()
    }
}

impl fmt::Debug for JoinTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinTokens").finish_non_exhaustive()
    }
}

impl fmt::Debug for IssueCertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueCertificateRequest").finish_non_exhaustive()
    }
}
