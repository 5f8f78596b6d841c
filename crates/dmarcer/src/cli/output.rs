//! Results on standard output, messages on standard error.

use std::io::{self, Write};

use serde_json::{Value, json};
use wire::Message;
use wire::json::to_json;

use crate::cli::Format;
use crate::cli::failure::Failure;
use crate::cli::table::{Table, printable};

/// Where and how results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    headers: bool,
}

impl Output {
    /// Prints in a format.
    pub(crate) fn new(format: Format, headers: bool) -> Output {
        Output { format, headers }
    }

    /// Prints one message, called `name` in `proto/`; as text where people read it.
    pub(crate) fn one<M: Message>(
        &self,
        name: &str,
        message: &M,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&to_json(name, message)?),
            Format::Table => write_all(&mut io::stdout().lock(), text().as_bytes()),
        }
    }

    /// Prints all messages of a list. Where there are none, people are told `empty`.
    pub(crate) fn list<M: Message>(
        &self,
        name: &str,
        items: &[M],
        empty: &str,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let items = items.iter().map(|item| to_json(name, item));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                self.json(&json!({ "items": items, "nextPageToken": "" }))
            }
            Format::Table => {
                let table = table();
                if table.is_empty() {
                    self.note(empty);
                    return Ok(());
                }
                let text = table.render(self.headers);
                write_all(&mut io::stdout().lock(), text.as_bytes())
            }
        }
    }

    /// Prints what is no message of the API: `value` for scripts, `text` for people.
    pub(crate) fn value(
        &self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&value()),
            Format::Table => write_all(&mut io::stdout().lock(), text().as_bytes()),
        }
    }

    /// Says that something without a result was done; JSON has an empty object for it.
    pub(crate) fn done(&self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&json!({})),
            Format::Table => {
                let line = format!("{}\n", printable(text));
                write_all(&mut io::stdout().lock(), line.as_bytes())
            }
        }
    }

    /// Tells people something on the side; scripts that read JSON have it in the result.
    pub(crate) fn note(&self, text: &str) {
        if self.format == Format::Table && !text.is_empty() {
            // The result counts, not this.
            let _ = writeln!(io::stderr(), "{}", printable(text));
        }
    }

    /// Lines on the side, which steer no terminal already.
    pub(crate) fn note_text(&self, text: &str) {
        if self.format == Format::Table {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// A table on the side.
    pub(crate) fn note_table(&self, table: &Table) {
        if self.format == Format::Table {
            let _ = io::stderr().write_all(table.render(self.headers).as_bytes());
        }
    }

    /// Whether tables have headers.
    pub(crate) fn headers(&self) -> bool {
        self.headers
    }

    /// Whether people read it.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    fn json(&self, value: &Value) -> Result<(), Failure> {
        write_all(&mut io::stdout().lock(), format!("{value:#}\n").as_bytes())
    }
}

/// Writes all of it.
///
/// # Errors
/// [`Failure::ClosedPipe`] where nobody reads any more.
pub(crate) fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// An enum value by its ending, in lower case: `REGION_STATE_NOT_LIVE` is `not live`.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).replace('_', " ").to_lowercase()
}
