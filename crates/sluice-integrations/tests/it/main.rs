//! Providers as the shell meets them: conversations, hostile answers, secrets.

mod golden;
mod hostile;
mod secrets;
mod talk;
