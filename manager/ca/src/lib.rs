//! the certificate authority: issuing, CSR policy, renewal, token limits.
