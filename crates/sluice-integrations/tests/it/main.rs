//! Providers as the shell meets them: conversations, hostile answers, secrets.

#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod golden;
mod hostile;
mod secrets;
mod talk;
