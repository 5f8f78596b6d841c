use std::os::unix::fs::symlink;

use super::*;

fn contexts(home: &Path) -> Contexts {
    let config_home = Some(home.display().to_string());
    Contexts::of(&Environment { config_home, ..Environment::default() })
}

fn context(name: &str, token: TokenSource) -> Context {
    Context { name: name.to_owned(), server: "http://x:1".to_owned(), workspace: None, token }
}

fn add(contexts: &Contexts, context: Context, token: Option<&str>) {
    contexts
        .change(|changing| {
            if let Some(token) = token {
                changing.keep_token(&context.name, &Secret::new(token.to_owned()));
            }
            changing.book.contexts.insert(context.name.clone(), context);
            Ok(())
        })
        .unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn contexts_are_read_as_they_were_written() {
    let home = tempfile::tempdir().unwrap();
    let contexts = contexts(home.path());
    assert_eq!(contexts.book().unwrap(), Book::default());
    let all = [
        Context { workspace: Some("acme".into()), ..context("kept", TokenSource::Kept) },
        context("file", TokenSource::File("/run/a \"token\"".into())),
        context("command", TokenSource::Command(vec!["pass".into(), "--x y".into()])),
    ];
    for it in &all {
        add(&contexts, it.clone(), None);
    }
    contexts
        .change(|changing| {
            changing.book.current = Some("kept".to_owned());
            Ok(())
        })
        .unwrap();
    for it in all {
        assert_eq!(contexts.get(&it.name).unwrap(), it);
    }
    assert_eq!(contexts.current().unwrap().unwrap().name, "kept");
    let unknown = contexts.get("other").unwrap_err();
    assert_eq!(unknown.reason(), "CONTEXT_NOT_FOUND");
    assert!(unknown.message().contains("command, file, kept"), "{}", unknown.message());
}

#[test]
fn only_their_owner_reads_them() {
    let home = tempfile::tempdir().unwrap();
    let contexts = contexts(home.path());
    add(&contexts, context("a", TokenSource::Kept), Some("secret\n"));
    let folder = home.path().join("dmarcer");
    assert_eq!((mode(&folder), mode(&folder.join("tokens"))), (0o700, 0o700));
    assert_eq!((mode(&folder.join("config.toml")), mode(&folder.join("tokens/a"))), (0o600, 0o600));
    let text = fs::read_to_string(folder.join("config.toml")).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let a = contexts.get("a").unwrap();
    assert_eq!(contexts.token(&a).unwrap().unwrap().expose(), "secret");
    assert!(contexts.warnings.borrow().is_empty());

    fs::set_permissions(folder.join("config.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    contexts.book().unwrap();
    let warnings = contexts.warnings.take();
    assert!(warnings.len() == 1 && warnings[0].contains("chmod 600"), "{warnings:?}");
}

#[test]
fn many_at_once_lose_nothing() {
    const EACH: usize = 8;
    let home = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let contexts = contexts(home.path());
            scope.spawn(move || {
                for number in 0..EACH {
                    let name = format!("c{thread}-{number}");
                    add(&contexts, context(&name, TokenSource::Kept), Some("token"));
                }
            });
        }
    });
    let contexts = contexts(home.path());
    let book = contexts.book().unwrap();
    assert_eq!(book.contexts.len(), 4 * EACH);
    assert!(book.contexts.values().all(|it| contexts.has_token(it)));
}

#[test]
fn a_damaged_file_is_told_by_line_and_never_written_over() {
    for (text, line, about) in [
        ("current = 'a'\n\n[context.a\n", 3, ""),
        ("[context.a]\nserver = 'http://x:1'\nsever = 1\n", 3, "sever"),
        ("[context.a]\nserver = 'https://x'\n", 2, "TLS"),
        ("\n[context.\"../a\"]\nserver = 'http://x:1'\n", 2, "no context's name"),
        ("current = '..'\n", 1, "no context's name"),
        ("[context.a]\nworkspace = 'x'\n", 1, "server"),
        ("[context.a]\nserver = 'x:1'\ntoken_file = 'a'\ntoken_command = ['b']\n", 4, "token_file"),
        ("[context.a]\nserver = 'x:1'\ntoken_command = []\n", 3, "empty"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let contexts = contexts(home.path());
        create_directory(&home.path().join("dmarcer")).unwrap();
        let path = home.path().join("dmarcer/config.toml");
        fs::write(&path, text).unwrap();
        for refused in [contexts.book().map(drop), contexts.change(|_| Ok(()))] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.reason(), "CONTEXTS_DAMAGED", "{text}");
            let message = refused.message();
            let at = format!("config.toml, line {line}: ");
            assert!(message.contains(&at) && message.contains(about), "{text}: {message}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let contexts = contexts(home.path());
    add(&contexts, context("a", TokenSource::Kept), Some("before"));
    let refused = contexts.change(|changing| {
        changing.book.contexts.clear();
        changing.keep_token("a", &Secret::new("after".to_owned()));
        Err::<(), _>(Failure::new("NO", "no"))
    });
    assert_eq!(refused.unwrap_err().reason(), "NO");
    let a = contexts.get("a").unwrap();
    assert_eq!(contexts.token(&a).unwrap().unwrap().expose(), "before");
}

#[test]
fn a_file_that_is_a_link_stays_one() {
    let home = tempfile::tempdir().unwrap();
    let contexts = contexts(home.path());
    create_directory(&home.path().join("dmarcer")).unwrap();
    let target = home.path().join("dotfiles.toml");
    fs::write(&target, "").unwrap();
    let path = home.path().join("dmarcer/config.toml");
    symlink(&target, &path).unwrap();
    add(&contexts, context("a", TokenSource::Kept), None);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("[context.a]"));
}

#[test]
fn a_token_may_be_in_a_file_or_come_from_a_program() {
    let home = tempfile::tempdir().unwrap();
    let contexts = contexts(home.path());
    let file = home.path().join("token");
    fs::write(&file, " secret \n").unwrap();
    let token = |source: TokenSource| contexts.token(&context("a", source));
    let command = |command: &[&str]| {
        token(TokenSource::Command(command.iter().map(|&it| it.to_owned()).collect()))
    };
    let read = token(TokenSource::File(file)).unwrap().unwrap();
    assert_eq!(read.expose(), "secret");
    assert_eq!(command(&["printf", "%s\n", "a$b"]).unwrap().unwrap().expose(), "a$b");
    assert!(token(TokenSource::Kept).unwrap().is_none());
    for failing in [&["false"][..], &["true"], &["/nowhere/program"]] {
        assert_eq!(command(failing).unwrap_err().reason(), "TOKEN_COMMAND_FAILED", "{failing:?}");
    }
    assert!(token(TokenSource::File(home.path().join("none"))).is_err());
}

#[test]
fn a_name_is_a_file_name_everywhere() {
    for name in ["prod", "eu-1.example", "a_b", "0"] {
        assert_eq!(parse_name(name).as_deref(), Ok(name));
    }
    for name in ["", ".", "..", "a/b", "-a", ".a", "A", "ä", "a b", &"a".repeat(65)] {
        assert!(parse_name(name).is_err(), "{name}");
    }
}

#[test]
fn without_a_home_there_are_no_contexts() {
    let contexts = Contexts::of(&Environment {
        config_home: Some("relative".to_owned()),
        ..Environment::default()
    });
    assert_eq!(contexts.book().unwrap(), Book::default());
    assert_eq!(contexts.change(|_| Ok(())).unwrap_err().reason(), "NO_CONFIG_FOLDER");
}
