//! Questions before a change that can hurt.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::failure::Failure;

/// Asks on a terminal whether to go ahead; elsewhere `--yes` has to have been given.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !is_possible() {
        let message = format!("this asks for confirmation ({question}): pass --yes");
        return Err(Failure::new("CONFIRMATION_REQUIRED", message));
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("NOT_CONFIRMED", "nothing was changed")),
    }
}

/// Whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
