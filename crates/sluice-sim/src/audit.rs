//! What clients asked for: a record of every request.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it arrived.
    pub at: Timestamp,
    /// Who asked.
    pub identity: Arc<str>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// Plural name of the kind; empty for documents such as discovery.
    pub resource: String,
    /// API group.
    pub group: String,
    /// Subresource, if any.
    pub subresource: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// Name; empty for collections.
    pub name: String,
    /// HTTP status code of the answer; 0 when there was none.
    pub code: u16,
    /// Size of the answer's body so far.
    pub bytes_out: u64,
}

#[derive(Debug, Default)]
struct Book {
    /// Raised when the list is cleared, so that a late watch does not write into another's line.
    generation: u64,
    list: Vec<Request>,
}

/// The record of all requests.
#[derive(Debug, Default)]
pub struct Audit(Mutex<Book>);

/// A line of the record that may still grow.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    generation: u64,
    index: usize,
}

impl Audit {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request.
    pub fn add(&self, request: Request) -> Line {
        let mut book = self.book();
        book.list.push(request);
        Line { generation: book.generation, index: book.list.len() - 1 }
    }

    /// Notes the answer of a request.
    pub fn answered(&self, line: Line, code: u16, bytes: u64) {
        let mut book = self.book();
        if book.generation == line.generation
            && let Some(request) = book.list.get_mut(line.index)
        {
            request.code = code;
            request.bytes_out += bytes;
        }
    }

    /// All requests, in order of arrival.
    pub fn list(&self) -> Vec<Request> {
        self.book().list.clone()
    }

    /// Forgets all requests.
    pub fn clear(&self) {
        let mut book = self.book();
        book.generation += 1;
        book.list.clear();
    }
}
