//! Unbound: the recursive resolver that `/etc/resolv.conf` names.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::process::{Daemon, program, run};
use crate::{Failure, Outcome, World, dig};

/// A running resolver, which starts from a root of the test's own and keeps nothing.
///
/// It does not validate: the root here is not signed.
pub struct Unbound {
    config: PathBuf,
    _daemon: Daemon,
}

impl Unbound {
    /// Resolves on port 53 of [`World::RESOLVER`], from the root served at `root`.
    ///
    /// # Errors
    ///
    /// When it does not come up, or the root does not answer.
    pub fn start(world: &World, root: IpAddr) -> Outcome<Self> {
        let directory = world.directory("unbound")?;
        let config = directory.join("unbound.conf");
        let hints = directory.join("root.hints");
        fs::write(&hints, format!(". 60 NS ns.hints.test.\nns.hints.test. 60 A {root}\n"))?;
        let text = format!(
            r#"
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    log-servfail: yes
    interface: {resolver}
    do-not-query-localhost: no
    root-hints: "{hints}"
    module-config: "iterator"
    # Without this, the resolver itself denies all that ends with `.test` (RFC 6761).
    local-zone: "test." nodefault
    num-threads: 1
    # A change in a zone is seen by the next question.
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    # A server that was down is asked again at once.
    infra-host-ttl: 1
    infra-keep-probing: yes
remote-control:
    control-enable: yes
    control-interface: "{directory}/control.sock"
    control-use-cert: no
"#,
            directory = directory.display(),
            hints = hints.display(),
            resolver = World::RESOLVER,
        );
        fs::write(&config, text)?;
        let daemon = Daemon::start(
            "unbound",
            &directory,
            program("unbound")?.arg("-d").arg("-p").arg("-c").arg(&config),
            is_resolving,
        )?;
        Ok(Self { config, _daemon: daemon })
    }

    /// Forgets all answers, and which servers did not answer.
    ///
    /// Answers are not kept anyway, but failures are, for five seconds: call this after starting a
    /// name server that was asked for before.
    ///
    /// # Errors
    ///
    /// When the resolver is gone.
    pub fn forget(&self) -> Outcome {
        for command in [["flush_zone", "."], ["flush_infra", "all"]] {
            run(program("unbound-control")?.arg("-c").arg(&self.config).args(command))?;
        }
        Ok(())
    }
}

fn is_resolving() -> Outcome {
    dig::listens(World::RESOLVER)?;
    if dig::ask(World::RESOLVER, ".", "NS")?.is_empty() {
        return Err(Failure::new("no answer for the root"));
    }
    Ok(())
}
