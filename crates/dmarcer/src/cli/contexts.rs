//! The user's contexts: servers by a short name, each with a token and a workspace.
//!
//! `config.toml` holds no secret. A token that is kept here is in a file of its own under `tokens/`, or
//! it stays where it is: in a file or a password manager that the context names.
//!
//! A change reads, decides and writes under a lock, and puts the new file in place of the old one: two
//! commands at once lose nothing, and a crash leaves one or the other. A file that can't be understood
//! is never written over.

mod file;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use service::config::Secret;
use service::files::{create_directory, write_private};
use zeroize::Zeroizing;

use crate::cli::Format;
use crate::cli::failure::Failure;
use crate::cli::settings::Environment;
use crate::cli::table::printable;

/// No configuration of this kind is longer.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// No token is longer, by far.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Another command holds the lock for milliseconds.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
const LOCK_AGAIN: Duration = Duration::from_millis(20);
/// What others than the owner may do with a file.
const OTHERS: u32 = 0o077;

/// Where contexts are kept.
pub(crate) struct Contexts {
    folder: Option<PathBuf>,
    warnings: RefCell<Vec<String>>,
}

/// A server by a short name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) server: String,
    pub(crate) workspace: Option<String>,
    pub(crate) token: TokenSource,
}

/// Where a context's token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// Here, if there is one.
    Kept,
    /// In a file that somebody else writes.
    File(PathBuf),
    /// A program prints it.
    Command(Vec<String>),
}

/// All contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Book {
    /// The one in use.
    pub(crate) current: Option<String>,
    /// By name.
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// Contexts while they are being changed.
pub(crate) struct Changing<'a> {
    pub(crate) book: Book,
    folder: &'a Path,
    /// Tokens to keep, by their context's name.
    tokens: Vec<(String, Secret)>,
}

impl Contexts {
    /// The contexts of this user.
    pub(crate) fn of(environment: &Environment) -> Contexts {
        // A relative one is to be ignored (XDG Base Directory Specification).
        let absolute = |text: &String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        let config_home = environment.config_home.as_ref().and_then(absolute);
        let home = || Some(environment.home.as_ref().and_then(absolute)?.join(".config"));
        let folder = config_home.or_else(home).map(|folder| folder.join("dmarcer"));
        Contexts { folder, warnings: RefCell::default() }
    }

    /// All of them.
    ///
    /// # Errors
    /// When the file can't be understood; it says where.
    pub(crate) fn book(&self) -> Result<Book, Failure> {
        match &self.folder {
            Some(folder) => self.read(&config_file(folder)),
            None => Ok(Book::default()),
        }
    }

    /// The one in use.
    pub(crate) fn current(&self) -> Result<Option<Context>, Failure> {
        let book = self.book()?;
        book.current.as_ref().map(|name| book.get(name)).transpose()
    }

    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Result<Context, Failure> {
        self.book()?.get(name)
    }

    /// A context's token, from wherever it is.
    pub(crate) fn token(&self, context: &Context) -> Result<Option<Secret>, Failure> {
        match &context.token {
            TokenSource::Kept => {
                let Some(folder) = &self.folder else { return Ok(None) };
                let path = token_file(folder, &context.name);
                if path.exists() { self.token_in(&path).map(Some) } else { Ok(None) }
            }
            TokenSource::File(path) => self.token_in(path).map(Some),
            TokenSource::Command(command) => token_of(&context.name, command).map(Some),
        }
    }

    /// Whether a context says where its token is, and it is there if it is here.
    pub(crate) fn has_token(&self, context: &Context) -> bool {
        match (&context.token, &self.folder) {
            (TokenSource::Kept, Some(folder)) => token_file(folder, &context.name).exists(),
            (TokenSource::Kept, None) => false,
            _ => true,
        }
    }

    /// Changes them.
    ///
    /// # Errors
    /// What `change` says, and then nothing has changed; or when the files can't be read or written.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Changing<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(folder) = &self.folder else {
            let message = "there is no place for contexts: set HOME or XDG_CONFIG_HOME";
            return Err(Failure::new("NO_CONFIG_FOLDER", message));
        };
        create_directory(folder).map_err(|e| Failure::fault(&e))?;
        let _lock = lock(&folder.join("config.lock"))?;
        let path = config_file(folder);
        let before = self.read(&path)?;
        let mut changing = Changing { book: before.clone(), folder, tokens: Vec::new() };
        let outcome = change(&mut changing)?;
        if changing.book != before {
            let text = file::written(&changing.book)?;
            // Where it is a link, what it points to is replaced, and not the link.
            let path = fs::canonicalize(&path).unwrap_or(path);
            write_private(&path, text.as_bytes()).map_err(|e| Failure::fault(&e))?;
        }
        // Last: a token never lies here without the context that says where it may go.
        for (name, token) in &changing.tokens {
            let text = Zeroizing::new(format!("{}\n", token.expose().trim()));
            let path = token_file(folder, name);
            write_private(&path, text.as_bytes()).map_err(|e| Failure::fault(&e))?;
        }
        Ok(outcome)
    }

    /// Tells people of files that others may read.
    pub(crate) fn warn(&self, format: Format) {
        for warning in self.warnings.take() {
            if format == Format::Table {
                // The command counts, not this.
                let _ = writeln!(io::stderr(), "warning: {}", printable(&warning));
            }
        }
    }

    fn read(&self, path: &Path) -> Result<Book, Failure> {
        let text = match self.opened(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
            Err(e) => return Err(unreadable(path, &e)),
            Ok(file) => read_at_most(MAX_FILE_BYTES, file).map_err(|e| unreadable(path, &e))?,
        };
        file::understood(&text).map_err(|(line, why)| {
            let message = format!("{}, line {line}: {why}", path.display());
            Failure::new("CONTEXTS_DAMAGED", message)
                .hint("mend it, or move it away and begin again: dmarcer context add NAME")
        })
    }

    fn token_in(&self, path: &Path) -> Result<Secret, Failure> {
        let token = self.opened(path).and_then(|file| read_at_most(MAX_TOKEN_BYTES, file));
        let token = token.map_err(|e| unreadable(path, &e))?;
        match token.trim() {
            "" => {
                let message = format!("there is no token in {}", path.display());
                Err(Failure::new("TOKEN_REQUIRED", message))
            }
            token => Ok(Secret::new(token.to_owned())),
        }
    }

    fn opened(&self, path: &Path) -> io::Result<File> {
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & OTHERS != 0 {
            let path = path.display();
            let warning = format!("{path} is open to others than its owner: chmod 600 {path}");
            self.warnings.borrow_mut().push(warning);
        }
        Ok(file)
    }
}

impl Book {
    /// The context of this name.
    pub(crate) fn get(&self, name: &str) -> Result<Context, Failure> {
        self.contexts.get(name).cloned().ok_or_else(|| {
            let names = self.contexts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = match names.is_empty() {
                true => format!("there is no context {name}, and no other either"),
                false => format!("there is no context {name}: choose one of {names}"),
            };
            Failure::new("CONTEXT_NOT_FOUND", message)
                .hint(format!("dmarcer context add {name} --server URL"))
        })
    }
}

impl Changing<'_> {
    /// Keeps a context's token, in place of the one before.
    pub(crate) fn keep_token(&mut self, name: &str, token: &Secret) {
        self.tokens.push((name.to_owned(), token.clone()));
    }

    /// The token that is kept for a context.
    pub(crate) fn kept_token(&self, name: &str) -> Option<Zeroizing<String>> {
        fs::read_to_string(token_file(self.folder, name)).ok().map(Zeroizing::new)
    }

    /// Forgets a context's token if it was kept.
    pub(crate) fn forget_token(&self, name: &str) -> Result<(), Failure> {
        let path = token_file(self.folder, name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Failure::new("FAILED", format!("{} can't be removed: {e}", path.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a context's name. It is a file's name too: lower case only, since some file systems see no
/// difference.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    const MAX_BYTES: usize = 64;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| plain(byte) || b"-._".contains(&byte);
    let fits = text.len() <= MAX_BYTES
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(inner);
    match fits {
        true => Ok(text.to_owned()),
        false => Err("1 to 64 of a-z, 0-9, '-', '.' and '_', and a letter or digit first".into()),
    }
}

fn config_file(folder: &Path) -> PathBuf {
    folder.join("config.toml")
}

fn token_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("tokens").join(name)
}

/// Waits until no other command changes anything.
fn lock(path: &Path) -> Result<File, Failure> {
    let fault =
        |e: io::Error| Failure::new("FAILED", format!("{} can't be locked: {e}", path.display()));
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).map_err(fault)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(fault(e)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WITHIN => sleep(LOCK_AGAIN),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is held by another command: try again", path.display());
                return Err(Failure::new("CONTEXTS_IN_USE", message));
            }
        }
    }
}

/// What a program prints. It may ask on the terminal for a passphrase.
fn token_of(name: &str, command: &[String]) -> Result<Secret, Failure> {
    let failed = |why: &str| {
        let message = format!("the token_command of context {name} {why}");
        Failure::new("TOKEN_COMMAND_FAILED", message)
    };
    let (program, arguments) = command.split_first().ok_or_else(|| failed("is empty"))?;
    let mut running = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&format!("can't be started: {program}: {e}")))?;
    let mut token = Zeroizing::new(String::new());
    if let Some(output) = running.stdout.take() {
        output
            .take(MAX_TOKEN_BYTES)
            .read_to_string(&mut token)
            .map_err(|e| failed(&format!("prints what can't be read: {e}")))?;
    }
    let ended = running.wait().map_err(|e| failed(&format!("can't be waited for: {e}")))?;
    match token.trim() {
        _ if !ended.success() => Err(failed(&format!("failed: {ended}"))),
        "" => Err(failed("printed no token")),
        token => Ok(Secret::new(token.to_owned())),
    }
}

fn read_at_most(bytes: u64, file: File) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    file.take(bytes + 1).read_to_string(&mut text)?;
    match text.len() as u64 > bytes {
        true => Err(io::Error::other(format!("it is longer than {bytes} bytes"))),
        false => Ok(text),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new("FAILED", format!("{} can't be read: {error}", path.display()))
}
