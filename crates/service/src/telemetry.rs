//! Logs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Libraries that warn of what strangers send. Anybody could fill a disk with it, at any level that
/// is configured for our own words; `RUST_LOG`, or the level itself, may name them to hear them.
const QUIET: &str = "rustls=error,h2=error,hyper=error,hyper_util=error";

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for a person.
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

/// Starts logging to standard error, at `RUST_LOG` or else at `level`, for example "info".
pub fn start(format: LogFormat, level: &str) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(std::env::var("RUST_LOG").ok().as_deref(), level))
        .with_ansi(colour())
        .with_writer(std::io::stderr);
    // A second start, in a test of several services, changes nothing.
    let _ = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Whether a level can be used: "info", or as `RUST_LOG` is written, "info,dns=debug".
///
/// A word that is no level would be taken for the name of a module, and everything else be silent.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn check_level(level: &str) -> Result<(), String> {
    let word = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let known = |part: &str| part.contains(['=', '[']) || word(part);
    if let Some(wrong) = level.split(',').find(|part| !known(part)) {
        return Err(format!("{wrong:?} is none of error, warn, info, debug, trace, off"));
    }
    EnvFilter::builder().parse(level).map(drop).map_err(|error| error.to_string())
}

fn filter(rust_log: Option<&str>, level: &str) -> EnvFilter {
    let asked = rust_log.filter(|text| !text.trim().is_empty());
    let asked = asked.and_then(|text| EnvFilter::builder().parse(text).ok());
    // What comes later counts: the level may name a quiet library.
    asked.unwrap_or_else(|| EnvFilter::new(format!("{QUIET},{level}")))
}

/// Colours are for terminals, and not for who asks for none (no-color.org).
fn colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written of a stranger's handshake, of our own look at DNS, and of HTTP.
    fn written(rust_log: Option<&str>, level: &str) -> String {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (log, filter) = (Log::default(), filter(rust_log, level));
        let to = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || to.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            tracing::warn!(target: "rustls::common_state", "alert");
            tracing::info!(target: "hyper_util::server", "odd bytes");
            tracing::info!(target: "dns::verify", "looked");
            tracing::debug!(target: "dns::verify", "asked");
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        ["alert", "odd bytes", "looked", "asked"]
            .into_iter()
            .filter(|said| text.contains(said))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn strangers_do_not_fill_the_log_unless_somebody_wants_to_hear_them() {
        assert_eq!(written(None, "info"), "looked");
        assert_eq!(written(None, "debug"), "looked asked");
        assert_eq!(written(None, "info,rustls=warn"), "alert looked");
        assert_eq!(written(Some("warn"), "debug"), "alert");
        assert_eq!(written(Some(""), "info"), "looked");
    }

    #[test]
    fn a_level_is_a_word_that_we_know_or_names_a_module() {
        for good in ["info", "WARN", "off", "info,dns=debug", "dns::verify=trace"] {
            check_level(good).unwrap();
        }
        for wrong in ["", "inf", "info,", "info, dns=debug", "dns=loud", "verbose"] {
            assert!(check_level(wrong).is_err(), "{wrong:?}");
        }
    }
}
