//! A network of the test's own, with the ports of the real one.
//!
//! Senders fetch policies from port 443, certificate authorities validate on port 80 and resolvers
//! ask port 53; none of them can be told otherwise. So a journey runs in namespaces of its own:
//!
//! * network: only a loopback interface, with all [addresses](World) a journey needs. Nothing gets
//!   out, nothing gets in, and journeys run side by side without sharing a port;
//! * mounts: its own `/etc/resolv.conf`, `/etc/hosts` and `/etc/nsswitch.conf`;
//! * processes: when the journey ends, however it ends, the kernel kills all that it started.
//!
//! [`inside`] runs the test binary again in these namespaces, for this one test. That needs root, or
//! a system that lets users make namespaces; where neither holds, the journey fails and says so.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Running, program, run, tail};
use crate::{Failure, Outcome, wait};

/// A journey that takes longer is killed with everything it started.
const LONGEST_JOURNEY: Duration = Duration::from_secs(180);

/// For a namespace that is told to end; then it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Set for the run inside: the name of the network namespace outside.
const OUTSIDE: &str = "DMARCER_TEST_OUTSIDE";

/// The file that proves that the test ran to its end inside.
const PASSED: &str = "passed";

/// What the run inside printed.
const OUTPUT: &str = "output.log";

/// Settings that would lead a client to a proxy, or make it trust the machine's authorities.
const NOT_INHERITED: [&str; 12] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
];

/// The network inside: proof that the code runs there, and its addresses.
///
/// Only [`inside`] makes one, so a part that asks for a `&World` cannot start on the machine's own
/// network.
pub struct World {
    directory: PathBuf,
}

impl World {
    /// The recursive resolver, named in `/etc/resolv.conf`; loopback is also where the certificate
    /// authority has its API.
    pub const RESOLVER: IpAddr = v4(127, 0, 0, 1);
    /// Serves `.` and `test.`: the registry that delegates.
    pub const REGISTRY: IpAddr = v4(192, 0, 2, 1);
    /// Serves the zones of customers and of the operator.
    pub const DNS_HOST: IpAddr = v4(192, 0, 2, 53);
    /// Free for the product's own authoritative servers.
    pub const NAME_SERVERS: [IpAddr; 2] = [v4(192, 0, 2, 54), v4(192, 0, 2, 55)];
    /// Free for a mail server of a customer or of the operator.
    pub const MAIL: IpAddr = v4(192, 0, 2, 25);
    /// Free for the edges of region `eu-1`.
    pub const EU_EDGE: [IpAddr; 2] = [v4(192, 0, 2, 81), v6(0x81)];
    /// Free for the edges of region `us-1`.
    pub const US_EDGE: [IpAddr; 2] = [v4(192, 0, 2, 82), v6(0x82)];

    /// An empty directory, removed with the world; the ends of all `*.log` in it are shown when the
    /// test fails.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn directory(&self, purpose: &str) -> Outcome<PathBuf> {
        let prefix = format!("{purpose}-");
        Ok(TempDir::with_prefix_in(prefix, &self.directory)?.keep())
    }

    /// Sets up the network, in the run inside.
    fn set_up(outside: &str) -> Outcome<Self> {
        if network_namespace()? == outside {
            return Err(Failure::new(format!("{OUTSIDE} is set, but this is no namespace")));
        }
        end_with_the_parent();
        let world = Self { directory: env::temp_dir() };
        run(program("ip")?.args(["link", "set", "lo", "up"]))?;
        for address in [
            [Self::REGISTRY, Self::DNS_HOST, Self::MAIL].as_slice(),
            &Self::NAME_SERVERS,
            &Self::EU_EDGE,
            &Self::US_EDGE,
        ]
        .concat()
        {
            run(program("ip")?.args(["address", "add", &address.to_string(), "dev", "lo"]))?;
        }
        let resolver = format!("nameserver {}\noptions timeout:2 attempts:2\n", Self::RESOLVER);
        world.replace("/etc/resolv.conf", &resolver)?;
        world.replace("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
        // Modules such as `resolve` would ask the machine's resolver, past the namespace.
        world.replace("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")?;
        Ok(world)
    }

    /// Puts `text` in the place of a file of the system, for this namespace only.
    fn replace(&self, file: &str, text: &str) -> Outcome {
        if !Path::new(file).exists() {
            return Ok(());
        }
        let ours = self.directory("etc")?.join("file");
        fs::write(&ours, text)?;
        run(program("mount")?.arg("--bind").arg(ours).arg(file))?;
        Ok(())
    }
}

/// Runs the body of a test in a [`World`]. It is all that the test does:
///
/// ```no_run
/// # use dmarcer_tests::{Internet, Outcome, netns};
/// # fn a_policy_is_fetched() -> Outcome {
/// netns::inside(|world| {
///     let internet = Internet::start(world)?;
///     internet.zones.set("_mta-sts.example.test", "TXT", r#""v=STSv1; id=1""#)?;
///     Ok(())
/// })
/// # }
/// ```
///
/// The closure must stand in the test function itself: the test's name is read from its type, to run
/// that test again inside.
///
/// # Errors
///
/// What the body says; that it took longer than three minutes; or that this system gives no
/// namespaces. With the ends of all logs.
pub fn inside<F: FnOnce(&World) -> Outcome>(body: F) -> Outcome {
    inside_within(LONGEST_JOURNEY, body)
}

/// As [`inside`], with another limit than three minutes.
///
/// # Errors
///
/// As [`inside`].
pub fn inside_within<F: FnOnce(&World) -> Outcome>(limit: Duration, body: F) -> Outcome {
    match env::var(OUTSIDE) {
        Ok(outside) => {
            let world = World::set_up(&outside)?;
            body(&world)?;
            Ok(fs::write(world.directory.join(PASSED), "")?)
        }
        Err(_) => run_inside(&test_name::<F>()?, limit),
    }
}

/// The name of the test around the closure `F`, as the test runner knows it.
///
/// The form of type names is not promised. Should it change, no test runs inside and none writes
/// the file that [`run_inside`] demands, so nothing passes by mistake.
fn test_name<F>() -> Outcome<String> {
    let closure = std::any::type_name::<F>();
    closure
        .strip_suffix("::{{closure}}")
        .and_then(|function| function.split_once("::"))
        .map(|(_, name)| name.to_owned())
        .ok_or_else(|| Failure::new(format!("{closure} is not a closure in a test function")))
}

/// Runs this binary again for one test, in fresh namespaces.
fn run_inside(test: &str, limit: Duration) -> Outcome {
    let directory = TempDir::with_prefix("dmarcer-journey-")?;
    let output = File::create(directory.path().join(OUTPUT))?;
    let mut command = unshare()?;
    command
        .arg(env::current_exe()?)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(OUTSIDE, network_namespace()?)
        .env("TMPDIR", directory.path())
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let mut running = Running::start(&mut command)?;
    let life_line = running.stdin();
    let mut within = |limit: Duration| {
        wait::until(limit, "the run inside the namespace to end", || {
            running.ended().transpose().unwrap_or_else(|| Err(Failure::new("it still runs")))
        })
    };
    let ended = within(limit);
    // This ends it by `end_with_the_parent`, if nothing else has: then all its processes are gone
    // before the directory is, which killing unshare would not wait for.
    drop(life_line);
    if ended.is_err() {
        let _ = within(END_WITHIN);
    }
    match ended {
        Ok(status) if status.success() && directory.path().join(PASSED).exists() => Ok(()),
        Ok(status) => Err(with_logs(&format!("inside the namespace: {status}"), &directory)),
        Err(failure) => Err(with_logs(&failure.to_string(), &directory)),
    }
}

/// The command that runs what follows it in fresh namespaces, by root's right or as a user.
///
/// `--kill-child`: when unshare is killed, the test inside is. The test is the first process of its
/// namespace, and with the first the kernel kills all others.
fn unshare() -> Outcome<Command> {
    const FRESH: [&str; 5] = ["--net", "--mount", "--pid", "--fork", "--kill-child"];
    const AS_USER: [&str; 2] = ["--user", "--map-root-user"];
    // Mounting is tried too: some systems give users namespaces in which they may do nothing.
    const TRIAL: [&str; 4] = ["mount", "--bind", "/etc", "/etc"];
    let mut refusals = String::new();
    for rights in [[].as_slice(), AS_USER.as_slice()] {
        match run(program("unshare")?.args(rights).args(FRESH).args(TRIAL)) {
            Ok(_) => {
                let mut command = program("unshare")?;
                command.args(rights).args(FRESH);
                return Ok(command);
            }
            Err(refusal) => refusals += &format!("\n{refusal}"),
        }
    }
    Err(Failure::new(format!(
        "this test needs a network namespace: run it as root, in a container with the capability \
         SYS_ADMIN, or where users may make namespaces (kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0){refusals}"
    )))
}

/// Ends the run inside when the one outside is gone, even killed.
///
/// Inside, the test is process 1, which the interrupt key does not reach. The pipe from its parent
/// does: it closes.
fn end_with_the_parent() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(1);
    });
}

fn network_namespace() -> Outcome<String> {
    Ok(fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned())
}

/// What happened, then the end of each log, the test's own output last.
fn with_logs(what: &str, directory: &TempDir) -> Failure {
    let mut text = format!("{what}\n");
    for log in logs_in(directory.path()) {
        text += &tail(&log);
    }
    Failure::new(text)
}

fn logs_in(directory: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut logs: Vec<PathBuf> = entries(directory)
        .flat_map(|part| entries(&part.path()).map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs.push(directory.join(OUTPUT));
    logs
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// An address of the block for documentation, by its last part.
const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_inside_is_told_outside_with_the_logs() -> Outcome {
        let outcome = inside(|world| {
            fs::write(world.directory("part")?.join("part.log"), "a line from a part")?;
            Err(Failure::new("a reason"))
        });
        if env::var_os(OUTSIDE).is_some() {
            return outcome;
        }
        let text = format!("{:?}", outcome.unwrap_err());
        assert!(text.contains("a reason"), "{text}");
        assert!(text.contains("a line from a part"), "{text}");
        Ok(())
    }

    #[test]
    fn a_body_that_is_not_in_the_test_does_not_pass() {
        fn elsewhere(_: &World) -> Outcome {
            Ok(())
        }
        let text = format!("{:?}", inside(elsewhere).unwrap_err());
        assert!(text.contains("is not a closure in a test function"), "{text}");
        let hidden = || inside(|_| Ok(()));
        let text = format!("{:?}", hidden().unwrap_err());
        assert!(text.contains("running 0 tests"), "{text}");
    }

    #[test]
    fn a_journey_without_end_is_killed_with_all_it_started() -> Outcome {
        let outcome = inside_within(Duration::from_secs(1), |world| {
            let file = world.directory("forgotten")?.join("file");
            fs::write(&file, "")?;
            run(program("tail")?.arg("--follow").arg(file))?;
            Ok(())
        });
        if env::var_os(OUTSIDE).is_some() {
            return outcome;
        }
        let text = format!("{:?}", outcome.unwrap_err());
        assert!(text.contains("waited 1s for the run inside the namespace to end"), "{text}");
        let of_that_world = |process: &fs::DirEntry| {
            let command = fs::read_to_string(process.path().join("cmdline"));
            command.is_ok_and(|command| command.contains("/forgotten-"))
        };
        let left: Vec<_> = fs::read_dir("/proc")?.flatten().filter(of_that_world).collect();
        assert!(left.is_empty(), "{left:?}");
        Ok(())
    }

    #[test]
    fn nothing_outside_is_reached_from_inside() -> Outcome {
        inside(|_| {
            let routes = run(program("ip")?.args(["route", "show", "table", "all"]))?;
            assert!(routes.lines().all(|route| route.contains("dev lo")), "{routes}");
            Ok(())
        })
    }
}
