//! The product under test: `dmarcer up` as an operator runs it, and the client commands.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::process::Daemon;
use crate::{Clock, Failure, Internet, Outcome, World};

/// An issuer that needs no CA.
const ALONE: &str = "[issuer]\nkind = \"local\"\n";

/// One installation in region eu-1, on the addresses that the wildcard of the region leads to.
pub struct Product {
    config: PathBuf,
    logs: PathBuf,
    /// Present where the journey sets it.
    clock: Option<Clock>,
    running: Option<Daemon>,
}

impl Product {
    /// The admin token of every installation under test.
    pub const TOKEN: &str = "journey-admin-token";
    /// Where it answers gRPC.
    pub const SERVER: &str = "http://127.0.0.1:7443";

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it ends, or does not answer in time: with the end of its log.
    pub fn start(world: &World, internet: &Internet) -> Outcome<Self> {
        Self::start_with(world, &Self::hosting(internet), None)
    }

    /// As [`Product::start`], with a clock that the journey sets.
    ///
    /// # Errors
    ///
    /// As [`Product::start`].
    pub fn start_with_a_clock(world: &World, internet: &Internet) -> Outcome<(Self, Clock)> {
        let clock = Clock::new(world)?;
        let product = Self::start_with(world, &Self::hosting(internet), Some(clock.clone()))?;
        Ok((product, clock))
    }

    /// What hosting takes of the configuration.
    fn hosting(internet: &Internet) -> String {
        format!(
            r#"[issuer]
directory = "{directory}"
ca_file = "{ca_file}"

[edge]
region = "eu-1"
https = ["192.0.2.81:443", "[2001:db8::81]:443"]
http = ["192.0.2.81:80", "[2001:db8::81]:80"]

[[region]]
id = "eu-1"
name = "Europe"
host = "eu-1.region.test"
"#,
            directory = internet.authority.directory(),
            ca_file = internet.authority.ca_file().display(),
        )
    }

    /// Starts one that has no DNS and no CA, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Product::start`].
    pub fn start_alone(world: &World) -> Outcome<Self> {
        Self::start_with(world, ALONE, None)
    }

    /// As [`Product::start_alone`], with more of the configuration, and with the tables of it that
    /// are not `data_dir`, `[control]`, `[dns]` and `[issuer]`.
    ///
    /// # Errors
    ///
    /// As [`Product::start`].
    pub fn start_alone_with(world: &World, rest: &str) -> Outcome<Self> {
        Self::start_with(world, &format!("{ALONE}\n{rest}"), None)
    }

    /// As [`Product::start_alone`], with a clock that the journey sets.
    ///
    /// # Errors
    ///
    /// As [`Product::start`].
    pub fn start_alone_with_a_clock(world: &World) -> Outcome<(Self, Clock)> {
        let clock = Clock::new(world)?;
        Ok((Self::start_with(world, ALONE, Some(clock.clone()))?, clock))
    }

    fn start_with(world: &World, rest: &str, clock: Option<Clock>) -> Outcome<Self> {
        let data = world.directory("data")?;
        let logs = world.directory("product")?;
        let config = logs.join("dmarcer.toml");
        let text = format!(
            r#"data_dir = "{data}"

[control]
listen = "127.0.0.1:7443"
admin_token = "{token}"

[dns]
resolvers = ["127.0.0.1:53"]

{rest}"#,
            data = data.display(),
            token = Self::TOKEN,
        );
        fs::write(&config, text)?;
        let mut product = Self { config, logs, clock, running: None };
        product.launch()?;
        Ok(product)
    }

    /// Starts it again in the same place.
    ///
    /// # Errors
    ///
    /// As [`Product::start`].
    pub fn launch(&mut self) -> Outcome {
        let mut command = self.server()?;
        // Each service answers by itself, as soon as it can.
        let answers = || {
            let status = self.json(&["fleet", "status"]).map_err(|failure| failure.to_string())?;
            let services = status["services"].as_array().cloned().unwrap_or_default();
            match services.iter().all(|service| service["serving"] == true) {
                true if !services.is_empty() => Ok(()),
                _ => Err(status.to_string()),
            }
        };
        self.running = Some(Daemon::start("dmarcer", &self.logs, &mut command, answers)?);
        Ok(())
    }

    /// Starts it again without waiting until it answers.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub fn launch_unready(&mut self) -> Outcome {
        let mut command = self.server()?;
        let at_once = || Ok::<(), Failure>(());
        self.running = Some(Daemon::start("dmarcer", &self.logs, &mut command, at_once)?);
        Ok(())
    }

    fn server(&self) -> Outcome<Command> {
        let mut command = binary()?;
        command.args(["up", "--config"]).arg(&self.config).env("RUST_LOG", "info");
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        Ok(command)
    }

    /// Kills it, without a word of warning.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// What it has printed since it was last started.
    ///
    /// # Errors
    ///
    /// When the file can't be read.
    pub fn log(&self) -> Outcome<String> {
        self.running.as_ref().map_or_else(|| Ok(String::new()), Daemon::log)
    }

    /// Runs a client command to its end, however that is.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub fn client(&self, arguments: &[&str]) -> Outcome<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    /// A client command, not yet started.
    ///
    /// # Errors
    ///
    /// When the binary is not there.
    pub fn command(&self, arguments: &[&str]) -> Outcome<Command> {
        self.command_of(Some(Self::TOKEN), arguments)
    }

    /// A client command of somebody else, not yet started: with their token, or without any.
    ///
    /// # Errors
    ///
    /// When the binary is not there.
    pub fn command_of(&self, token: Option<&str>, arguments: &[&str]) -> Outcome<Command> {
        let mut command = binary()?;
        command.args(arguments).args(["-o", "json"]).env("DMARCER_SERVER", Self::SERVER);
        // What whoever runs the tests has set for their own work says nothing here.
        command.env("XDG_CONFIG_HOME", self.logs.join("config"));
        for name in ["DMARCER_TOKEN", "DMARCER_CONTEXT", "DMARCER_WORKSPACE"] {
            command.env_remove(name);
        }
        if let Some(token) = token {
            command.env("DMARCER_TOKEN", token);
        }
        Ok(command)
    }

    /// What a client command answers, as JSON.
    ///
    /// # Errors
    ///
    /// When it does not succeed: with what it said.
    pub fn json(&self, arguments: &[&str]) -> Outcome<Value> {
        let output = self.client(arguments)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let doing = format!("dmarcer {}", arguments.join(" "));
            return Err(Failure::new(format!("{}: {said}", output.status)).during(doing));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The error of a client command that is refused, as JSON.
    ///
    /// # Errors
    ///
    /// When it is not refused, or says so in another way.
    pub fn refusal(&self, arguments: &[&str]) -> Outcome<Value> {
        let output = self.client(arguments)?;
        if output.status.code() != Some(1) {
            let printed = String::from_utf8_lossy(&output.stdout);
            let doing = format!("dmarcer {} was not refused", arguments.join(" "));
            return Err(Failure::new(format!("{}: {printed}", output.status)).during(doing));
        }
        Ok(serde_json::from_slice(&output.stderr)?)
    }
}

/// The binary that the test command builds.
///
/// # Errors
///
/// When it is not there.
pub fn binary() -> Outcome<Command> {
    let here = std::env::current_exe()?;
    // target/debug/deps/<test>: the binary is one folder up.
    let path = here.ancestors().nth(2).map(|folder| folder.join("dmarcer"));
    match path.filter(|path| path.is_file()) {
        Some(path) => Ok(Command::new(path)),
        None => Err(Failure::new("dmarcer is not built: run `cargo build --bin dmarcer` first")),
    }
}
