//! The command line before callers of every kind: each command is refused to whom the server refuses its
//! calls, says so as scripts read it, and none is without a row here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dmarcer_tests::calls::{make_token, over_grpc};
use dmarcer_tests::{Failure, Internet, Outcome, Product, World, netns, product};
use serde_json::Value;
use wire::access::Role;

/// What a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// It calls no server, or none as somebody.
    Nobody,
    /// A role in the workspace.
    ReadOnly,
    /// Domain management rights for [`DOMAIN`].
    DomainManager,
    /// A Platform admin.
    PlatformAdmin,
}
use Needs::{DomainManager, Nobody, PlatformAdmin, ReadOnly};

/// Hosted, not proven.
const DOMAIN: &str = "example.test";
/// Not added.
const NEW: &str = "other.test";

/// Each command with arguments that it understands; nothing that they name is needed by another row.
const COMMANDS: &[(&str, &[&str], Needs)] = &[
    ("up", &["--help"], Nobody),
    ("playground", &["--help"], Nobody),
    ("playground publish", &["--help"], Nobody),
    ("config check", &["--help"], Nobody),
    ("completions", &["bash"], Nobody),
    ("context add", &["here", "--server", Product::SERVER, "--token", "t"], Nobody),
    ("context list", &[], Nobody),
    ("context use", &["no-context"], Nobody),
    ("context show", &["no-context"], Nobody),
    ("context remove", &["no-context"], Nobody),
    // Nobody is somebody before it, and it is a context's own sign-in that ends by it.
    ("login", &[], Nobody),
    ("logout", &[], Nobody),
    ("whoami", &[], ReadOnly),
    ("domain add", &[NEW], DomainManager),
    ("domain list", &[], ReadOnly),
    ("domain show", &[DOMAIN], ReadOnly),
    ("domain convert", &[DOMAIN, "--to", "parked"], DomainManager),
    ("domain remove", &[DOMAIN], DomainManager),
    ("hosting activate", &[DOMAIN], DomainManager),
    ("hosting deactivate", &[DOMAIN], DomainManager),
    ("hosting cancel", &[DOMAIN], DomainManager),
    ("hosting status", &[DOMAIN], ReadOnly),
    ("dns records", &[DOMAIN], ReadOnly),
    ("dns check", &[DOMAIN], ReadOnly),
    ("policy show", &[DOMAIN], ReadOnly),
    ("policy promote", &[DOMAIN], DomainManager),
    ("policy revert", &[DOMAIN], DomainManager),
    ("policy refresh-mx", &[DOMAIN], DomainManager),
    ("policy plan-mx", &[DOMAIN], ReadOnly),
    ("policy set", &[DOMAIN, "--max-age", "2d"], DomainManager),
    ("policy history", &[DOMAIN], ReadOnly),
    ("readiness", &[DOMAIN], ReadOnly),
    ("cert show", &[DOMAIN], ReadOnly),
    ("cert reissue", &[DOMAIN], DomainManager),
    ("cert history", &[DOMAIN], ReadOnly),
    ("activity", &[DOMAIN], ReadOnly),
    ("token create", &["made here"], ReadOnly),
    ("token list", &[], ReadOnly),
    ("token show", &["zzzzzzzzzzzz"], ReadOnly),
    ("token revoke", &["zzzzzzzzzzzz"], ReadOnly),
    ("member add", &["somebody@example.org", "--role", "read-only"], PlatformAdmin),
    ("member list", &[], ReadOnly),
    ("member set", &["nobody@example.org", "--role", "read-only"], PlatformAdmin),
    ("member remove", &["nobody@example.org"], PlatformAdmin),
    ("audit", &[], ReadOnly),
    ("audit verify", &[], ReadOnly),
    ("workspace add", &["added"], PlatformAdmin),
    ("workspace list", &[], ReadOnly),
    ("workspace show", &[], ReadOnly),
    ("workspace rename", &["nowhere", "A name"], PlatformAdmin),
    ("workspace close", &["nowhere"], PlatformAdmin),
    ("region add", &["us-1", "--host", "us-1.region.test"], PlatformAdmin),
    ("region list", &[], ReadOnly),
    ("region show", &["eu-1"], ReadOnly),
    ("region set", &["eu-1", "--name", "Europe"], PlatformAdmin),
    ("region disable", &["nowhere"], PlatformAdmin),
    ("fleet status", &[], ReadOnly),
];

/// Processes at a time.
const AT_ONCE: usize = 4;

/// The commands that help tells of, with those below them.
fn commands() -> Outcome<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut groups = vec![Vec::new()];
    while let Some(group) = groups.pop() {
        let output = product::binary()?.args(&group).arg("--help").output()?;
        let help = String::from_utf8(output.stdout)?;
        let below = below(&help);
        // `[COMMAND]` may be left out: then it is a command of its own.
        let alone = below.is_empty() || help.contains("[COMMAND]");
        if alone {
            found.insert(group.join(" "));
        }
        groups.extend(below.into_iter().map(|name| [group.clone(), vec![name]].concat()));
    }
    Ok(found)
}

/// The names in the lists of a help text that come before its options.
fn below(help: &str) -> Vec<String> {
    let lists = help.lines().skip_while(|line| !line.starts_with("Usage:"));
    let lists = lists.take_while(|line| !line.ends_with("ptions:") && *line != "Arguments:");
    // What is further in is the rest of a long line.
    let entries =
        lists.filter_map(|line| line.strip_prefix("  ").filter(|it| !it.starts_with(' ')));
    let names = entries.filter_map(|entry| entry.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_says_here_what_it_needs() -> Outcome {
    let rows: BTreeSet<String> = COMMANDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(rows.len(), COMMANDS.len(), "a row for each");
    let commands = commands()?;
    assert!(commands.len() > 40, "{commands:?}");
    let missing: Vec<_> = commands.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&commands).collect();
    assert!(missing.is_empty() && gone.is_empty(), "without a row: {missing:?}; gone: {gone:?}");
    Ok(())
}

#[derive(Debug, Clone)]
struct Caller {
    name: &'static str,
    token: Option<String>,
}

impl Caller {
    /// Why this caller is refused a command; none where the command is carried out.
    fn refusal(&self, needs: Needs) -> Option<&'static str> {
        match (needs, self.name) {
            (Nobody, _) => None,
            (_, "nobody") => Some("TOKEN_REQUIRED"),
            (_, "somebody unknown") => Some("TOKEN_INVALID"),
            (DomainManager | PlatformAdmin, "Read-only") => Some("ROLE_REQUIRED"),
            (PlatformAdmin, "Domain manager" | "Domain manager of others") => Some("ROLE_REQUIRED"),
            (DomainManager, "Domain manager of others") => Some("DOMAIN_NOT_YOURS"),
            _ => None,
        }
    }
}

/// What a command answered: the reason of its refusal, or nothing.
fn reason(name: &str, output: &Output) -> Outcome<Option<String>> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(None);
    }
    // Notes may stand before the error, which comes last.
    let error = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let reason = error.as_ref().and_then(|error| error["reason"].as_str()).map(str::to_owned);
    let reason = reason.ok_or_else(|| Failure::new(format!("{name}: no JSON: {said}")))?;
    let code = output.status.code();
    if code != Some(1) {
        return Err(Failure::new(format!("{name}: {reason}, with {code:?} and not 1: {said}")));
    }
    Ok(Some(reason))
}

/// Runs each command as each of these callers, a few at a time, and says what is not as it should be.
fn run_all(product: &Product, callers: &[Caller]) -> Vec<String> {
    let all: Vec<_> =
        callers.iter().flat_map(|caller| COMMANDS.iter().map(move |row| (caller, row))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((caller, row)) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(failure) = run_one(product, caller, row)
                        && let Ok(mut wrong) = wrong.lock()
                    {
                        wrong.push(failure.to_string());
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap_or_default()
}

fn run_one(product: &Product, caller: &Caller, row: &(&str, &[&str], Needs)) -> Outcome {
    let (name, arguments, needs) = *row;
    let mut all: Vec<&str> = name.split(' ').collect();
    all.extend(arguments);
    all.push("--yes");
    let mut command = product.command_of(caller.token.as_deref(), &all)?;
    // What one of them keeps for this user is nothing to the others.
    let own = format!("config-{}-{}", caller.name, name).replace(' ', "-");
    let output = command.env("XDG_CONFIG_HOME", std::env::temp_dir().join(own)).output()?;
    let said = reason(name, &output)?;
    let access = ["TOKEN_REQUIRED", "TOKEN_INVALID", "ROLE_REQUIRED", "DOMAIN_NOT_YOURS"];
    let broken = ["INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "USAGE", "RATE_LIMITED"];
    match (caller.refusal(needs), said.as_deref()) {
        (Some(expected), Some(said)) if said == expected => Ok(()),
        (None, None) => Ok(()),
        (None, Some(said)) if !access.contains(&said) && !broken.contains(&said) => Ok(()),
        (expected, said) => {
            let expected = expected.unwrap_or("to be carried out");
            let said = said.unwrap_or("carried out");
            Err(Failure::new(format!("{name} by {}: {said}, not {expected}", caller.name)))
        }
    }
}

#[test]
fn every_command_is_refused_to_whom_its_calls_are() -> Outcome {
    netns::inside(|world: &World| {
        let internet = Internet::start(world)?;
        let product = Product::start(world, &internet)?;
        product.json(&["domain", "add", DOMAIN])?;
        product.json(&["hosting", "activate", DOMAIN])?;
        let mut tokens = BTreeMap::new();
        over_grpc(&product, async |_, channel| {
            for (name, role, domains) in [
                ("Read-only", Role::ReadOnly, &[][..]),
                ("Domain manager", Role::DomainManager, &[]),
                ("Domain manager of others", Role::DomainManager, &["elsewhere.test"]),
                ("Platform admin", Role::PlatformAdmin, &[]),
            ] {
                tokens.insert(name, make_token(&channel, "default", role, domains).await?);
            }
            Ok(())
        })?;
        let caller = |name| Caller { name, token: tokens.get(name).cloned() };
        let unknown =
            Caller { name: "somebody unknown", token: Some("dmr_0000000000000000".to_owned()) };

        // First those who can change nothing of it, then those who do.
        let mut wrong = run_all(
            &product,
            &[caller("nobody"), caller("Read-only"), caller("Domain manager of others")],
        );
        let untouched = product.json(&["policy", "show", DOMAIN])?;
        assert_eq!(untouched["revision"], 1, "{untouched}");
        // More wrong tokens than these are held up, which is another answer.
        let some = COMMANDS.iter().filter(|(.., needs)| *needs == DomainManager);
        for row in some {
            wrong.extend(run_one(&product, &unknown, row).err().map(|it| it.to_string()));
        }
        wrong.extend(run_all(&product, &[caller("Domain manager")]));
        wrong.extend(run_all(&product, &[caller("Platform admin")]));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

#[test]
fn a_refusal_says_what_it_needs_and_what_to_do_next() -> Outcome {
    netns::inside(|world: &World| {
        let product = Product::start_alone(world)?;
        let mut reader = String::new();
        over_grpc(&product, async |_, channel| {
            reader = make_token(&channel, "default", Role::ReadOnly, &[]).await?;
            Ok(())
        })?;
        let output = product.command_of(Some(&reader), &["domain", "add", NEW])?.output()?;
        let error: Value = serde_json::from_slice(&output.stderr)?;
        assert_eq!(error["reason"], "ROLE_REQUIRED");
        assert_eq!(error["metadata"]["role"], "read-only");
        assert_eq!(error["metadata"]["needed"], "domain-manager");
        assert!(output.stdout.is_empty());
        // The token itself is in nothing that is printed.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(&reader), "{said}");
        assert!(!product.log()?.contains(&reader), "the server's log has the token");
        Ok(())
    })
}
