//! Documents of all kinds through a real child process.

#![cfg(feature = "documents")]

mod formats;
mod hostile;
mod pdf;
mod process;
mod recognition;
mod support;
