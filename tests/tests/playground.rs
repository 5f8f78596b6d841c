//! The README's first command: what it prints leads to an enforced policy that curl fetches.

use std::process::{Command, Stdio};

use dmarcer_tests::process::{Daemon, run};
use dmarcer_tests::{Failure, Outcome, World, netns, product};

/// The line after which the playground has printed everything.
const LAST_LINE: &str = "Ctrl-C ends the playground.";

/// The lines to copy: those that begin with two spaces.
fn steps(printed: &str) -> Vec<String> {
    let indented = printed.lines().filter_map(|line| line.strip_prefix("  "));
    indented.map(str::to_owned).collect()
}

fn start(folder: &std::path::Path) -> Outcome<(Daemon, String)> {
    let mut command = product::binary()?;
    command.arg("playground").current_dir(folder).stdin(Stdio::null());
    let log = folder.join("playground.log");
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    let daemon = Daemon::start("playground", folder, &mut command, || {
        if printed().contains(LAST_LINE) { Ok(()) } else { Err(printed()) }
    })?;
    let printed = printed();
    Ok((daemon, printed))
}

#[test]
fn the_printed_steps_lead_to_an_enforced_policy_that_curl_fetches() -> Outcome {
    netns::inside(|world: &World| {
        let folder = world.directory("newcomer")?;
        let (_daemon, printed) = start(&folder)?;
        let steps = steps(&printed);
        let (exports, commands): (Vec<String>, Vec<String>) =
            steps.into_iter().partition(|step| step.starts_with("export "));
        assert_eq!(exports.len(), 1, "{printed}");
        assert!(commands.len() >= 4, "{printed}");

        let mut fetched = None;
        for step in &commands {
            let script = format!("{}\n{step}", exports[0]);
            let mut shell = Command::new("sh");
            shell.args(["-e", "-c", &script]).current_dir(&folder).stdin(Stdio::null());
            let output = run(&mut shell).map_err(|failure| failure.during(step))?;
            if step.starts_with("curl ") {
                fetched = Some(output);
            }
        }
        let fetched = fetched.ok_or_else(|| Failure::new(format!("no curl in {printed}")))?;
        assert!(fetched.starts_with("version: STSv1\r\nmode: enforce\r\n"), "{fetched}");
        Ok(())
    })
}

#[test]
fn a_second_start_goes_on_where_the_first_was() -> Outcome {
    netns::inside(|world: &World| {
        let folder = world.directory("newcomer")?;
        let (daemon, first) = start(&folder)?;
        let activate = steps(&first);
        for step in activate.iter().filter(|step| step.contains("hosting activate")) {
            let script = format!("{}\n{step}", activate[0]);
            run(Command::new("sh").args(["-e", "-c", &script]).current_dir(&folder))?;
        }
        drop(daemon);
        let (_daemon, second) = start(&folder)?;
        let again = steps(&second);
        assert_eq!(again[0], activate[0], "the token stays");
        let show = again.iter().find(|step| step.contains("hosting activate"));
        let show = show.map(|step| step.replace("hosting activate", "hosting status"));
        let show = show.unwrap_or_default();
        let script = format!("{}\n{show}", again[0]);
        let shown = run(Command::new("sh").args(["-e", "-c", &script]).current_dir(&folder))?;
        assert!(shown.contains("pending"), "{shown}");
        Ok(())
    })
}
