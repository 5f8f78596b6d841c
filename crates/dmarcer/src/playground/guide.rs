//! What to type in another terminal. Lines that begin with two spaces are commands, as they are.

use std::path::Path;

use ::playground::world::EXAMPLE_DOMAIN;

use super::{Folder, Places};
use crate::cli::failure::Failure;
use crate::cli::table::printable;

/// The checks that a world without senders and reports leaves open.
const ACCEPTED: [&str; 5] =
    ["fetched", "reports_recent", "reports_clean", "mx_tls", "testing_long_enough"];

/// The guide. `added` is what became of adding the example.
pub(super) fn text(
    folder: &Folder,
    places: &Places,
    token: &str,
    added: Result<(), Failure>,
) -> String {
    let added = match added {
        Ok(()) => format!("{EXAMPLE_DOMAIN} is added and its DNS is served here."),
        Err(why) => format!(
            "{EXAMPLE_DOMAIN} could not be added ({}); its DNS is served here.",
            printable(why.message())
        ),
    };
    let dmarcer =
        std::env::current_exe().map_or_else(|_| "dmarcer".to_owned(), |path| quoted(&path));
    let dir = match folder.is_default() {
        true => String::new(),
        false => format!(" --dir {}", quoted(&folder.0)),
    };
    let accept: String = ACCEPTED.iter().map(|id| format!(" --accept {id}")).collect();
    let policy_host = format!("mta-sts.{EXAMPLE_DOMAIN}");
    let Places { grpc, https, dns, .. } = places;
    let root = quoted(&folder.root_certificate());
    let key = quoted(&folder.update_key());
    format!(
        "
The playground runs: grpc http://{grpc}, policies https {https}, DNS {dns}.
{added} In another terminal:

  export DMARCER_SERVER=http://{grpc} DMARCER_TOKEN={token}

Host its policy, publish the records as its owner would, and enforce it:

  {dmarcer} hosting activate {EXAMPLE_DOMAIN}
  {dmarcer} playground publish {EXAMPLE_DOMAIN}{dir}
  {dmarcer} policy promote {EXAMPLE_DOMAIN}{accept} --yes --wait

Fetch it as a sender does, with a certificate that is checked:

  curl --silent --show-error --fail --cacert {root} --connect-to {policy_host}:443:{https} https://{policy_host}/.well-known/mta-sts.txt

The new policy has a new id: publish once more, and look at what senders find:

  {dmarcer} playground publish {EXAMPLE_DOMAIN}{dir}
  {dmarcer} dns check {EXAMPLE_DOMAIN}

The key for signed updates (nsupdate -y, knsupdate -y) is in {key}.
Ctrl-C ends the playground.
"
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    match !path.is_empty() && path.bytes().all(plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_is_a_script() {
        let folder = Folder("a folder".into());
        let text = text(&folder, &Places::default(), "t0ken", Ok(()));
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        assert_eq!(commands.len(), 7, "{text}");
        assert!(commands[0].starts_with("export DMARCER_SERVER=http://127.0.0.1:7443 "));
        assert!(commands[2].ends_with("playground publish example.test --dir 'a folder'"));
        assert!(commands[4].contains("--cacert 'a folder/data/local-ca.pem'"));
    }

    #[test]
    fn an_example_that_is_refused_is_told_and_the_guide_goes_on() {
        let folder = Folder("playground".into());
        let refused = Err(Failure::new("TOO_MANY_DOMAINS", "no more\nthan 3"));
        let text = text(&folder, &Places::default(), "t0ken", refused);
        assert!(text.contains("example.test could not be added (no more\\nthan 3)"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), 7, "{text}");
    }
}
