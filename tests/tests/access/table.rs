//! The table for people: as the RPCs say, and no RPC without a row.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dmarcer_tests::Outcome;
use wire::access::{Need, rpcs};

use crate::{Who, refusal};

/// Beside the table that says which crate may use which.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/ACCESS.md");
/// Set to write it anew.
const REWRITE: &str = "DMARCER_REWRITE";

#[test]
fn the_table_of_who_may_call_what_is_as_the_rpcs_say() -> Outcome {
    let mut table = String::from(
        "# Who may call what\n\n\
         Each RPC says it itself, in `proto/`, and one place asks it before any handler runs:\n\
         [`service::access`](service/src/access.rs). This table is made of the same rules, and a test holds it \
         to them:\n\
         `DMARCER_REWRITE=1 cargo test -p dmarcer-tests --test access table` writes it anew.\n\n\
         A caller has a role in one workspace and sees nothing of another one: what is there \
         answers as what isn't.\n\
         A *no* is `TOKEN_REQUIRED` for nobody, `DOMAIN_NOT_YOURS` for a Domain manager of other \
         domains where a\n\
         Domain manager has a *yes*, else `ROLE_REQUIRED`. An *emergency* is not held up by how \
         much else is called.\n\n\
         | RPC | Nobody | Read-only | Domain manager | Domain manager of other domains | \
         Platform admin | Service | Changes |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rpc in rpcs() {
        let name = rpc.path.trim_start_matches("/dmarcer.").replacen(".v1.", ".", 1);
        write!(table, "| `{name}` |")?;
        for who in [
            Who::Nobody,
            Who::ReadOnly,
            Who::DomainManager,
            Who::OtherDomains,
            Who::PlatformAdmin,
            Who::Service,
        ] {
            let may = if refusal(&rpc, who).is_none() { "yes" } else { "no" };
            write!(table, " {may} |")?;
        }
        let changes = match (rpc.changes, rpc.emergency) {
            (true, true) => "changes, emergency",
            (true, false) => "changes",
            (false, _) => "",
        };
        writeln!(table, " {changes} |")?;
    }
    if std::env::var_os(REWRITE).is_some() {
        return Ok(fs::write(TABLE, table)?);
    }
    let kept = fs::read_to_string(Path::new(TABLE)).unwrap_or_default();
    let missing = table.lines().find(|line| !kept.lines().any(|kept| kept == *line));
    let gone = kept.lines().find(|line| !table.lines().any(|line_now| line_now == *line));
    assert!(
        kept == table,
        "crates/ACCESS.md is not as the RPCs say:\n+ {missing:?}\n- {gone:?}\nLook at what has \
         changed, then run\n{REWRITE}=1 cargo test -p dmarcer-tests --test access table"
    );
    Ok(())
}

#[test]
fn a_change_that_a_domain_manager_may_make_names_its_domain() {
    // Else a role for named domains would reach all of them.
    for rpc in rpcs() {
        let nameless = rpc.need == Need::DomainManager && rpc.changes && rpc.domain.is_none();
        assert!(!nameless, "{} has no domain_field", rpc.path);
    }
}
