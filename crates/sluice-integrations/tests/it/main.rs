//! Providers as the shell meets them: conversations, hostile answers, secrets.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod golden;
mod hostile;
mod secrets;
mod talk;
