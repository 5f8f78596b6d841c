//! Wrong usage, said as results are: under `-o json` scripts read one JSON object.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Error;
use clap::error::ErrorKind;

use crate::cli::Format;
use crate::cli::failure::Failure;

/// Says what clap found and gives the exit code. Help and the version are no errors.
pub(super) fn report(error: &Error, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    if error.use_stderr() && asks_for_json(arguments) {
        return Failure::usage(sentence(error)).report(Format::Json);
    }
    // Nobody is left to tell where this fails.
    let _ = error.print();
    match u8::try_from(error.exit_code()) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// What is wrong, without the usage and the hints that clap prints below it.
fn sentence(error: &Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command or an argument is missing: see --help".to_owned();
    }
    let text = error.to_string();
    let wrong = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = wrong.split_whitespace().collect();
    let words = words.join(" ");
    words.strip_prefix("error: ").map(str::to_owned).unwrap_or(words)
}

/// Whether `-o json` stands anywhere, in any of its spellings: the command line could not be
/// understood as a whole.
fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let names = |text: &str| match text.strip_prefix("--") {
        Some(long) => long == "output",
        // `-y` may stand in one word with it.
        None => text.strip_prefix('-').is_some_and(|short| short.trim_start_matches('y') == "o"),
    };
    let alone = arguments.iter().any(|argument| match argument.strip_suffix("json") {
        Some(before) if before.starts_with("--") => before.strip_suffix('=').is_some_and(names),
        Some(before) => names(before.strip_suffix('=').unwrap_or(before)),
        None => false,
    });
    alone || arguments.windows(2).any(|pair| names(&pair[0]) && pair[1] == "json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help::command;

    #[test]
    fn json_is_asked_for_in_any_spelling() {
        let asks = |typed: &str| asks_for_json(typed.split(' ').map(OsString::from));
        for typed in [
            "dmarcer -o json domian",
            "dmarcer domain list --nope -ojson",
            "dmarcer -o=json",
            "dmarcer domain --output json",
            "dmarcer --output=json",
            "dmarcer -yo json",
            "dmarcer -yojson",
        ] {
            assert!(asks(typed), "{typed}");
        }
        for typed in ["dmarcer json", "dmarcer -o table json", "dmarcer --outputjson", "dmarcer"] {
            assert!(!asks(typed), "{typed}");
        }
    }

    #[test]
    fn what_is_wrong_is_one_sentence() {
        let said = |typed: &[&str]| sentence(&command().try_get_matches_from(typed).unwrap_err());
        let wrong = said(&["dmarcer", "domain", "list", "--nope"]);
        assert_eq!(wrong, "unexpected argument '--nope' found");
        let missing = said(&["dmarcer", "domain", "show"]);
        assert!(missing.contains("required") && missing.contains("<NAME>"), "{missing}");
        assert!(said(&["dmarcer", "domain"]).contains("--help"));
        assert!(said(&["dmarcer"]).contains("--help"));
    }
}
