//! `dmarcer policy refresh-mx` and `plan-mx`: the mx lines after the live MX.

use wire::control::{self, MxAction};

use crate::cli::Session;
use crate::cli::confirm::{confirm, is_possible};
use crate::cli::failure::Failure;
use crate::cli::output::word;
use crate::cli::policy::Change;
use crate::cli::table::Table;

const PLAN: &str = "dmarcer.control.v1.MxPlan";

/// Prints what a refresh would change.
pub(crate) async fn plan(session: &Session, name: String) -> Result<(), Failure> {
    let plan = planned(session, &name).await?;
    session.output.one(PLAN, &plan, || table(&plan).render(!session.options.no_headers))?;
    remark(session, &plan);
    Ok(())
}

/// Rebuilds the mx lines; gives the policy, and whether there is a new version.
pub(crate) async fn refresh(
    session: &Session,
    name: String,
    accept_removals: bool,
    change: &Change,
) -> Result<(control::Policy, bool), Failure> {
    let accept = accept_removals || session.options.yes;
    let refused = match request(session, &name, change.if_revision, accept).await {
        Err(failure) if failure.reason() == "MX_REMOVAL_UNCONFIRMED" => failure,
        outcome => return finish(session, outcome?),
    };
    let plan = planned(session, &name).await?;
    session.output.note_table(&table(&plan));
    remark(session, &plan);
    if !is_possible() {
        let again = format!("dmarcer policy refresh-mx {name} --accept-removals");
        return Err(refused.hint(again));
    }
    confirm("remove these mx lines? Senders that enforce then refuse their hosts", false)
        .map_err(|refused| refused.about(&name))?;
    // Who was asked decided about the plan that they were shown.
    finish(session, request(session, &name, plan.revision, true).await?)
}

async fn request(
    session: &Session,
    name: &str,
    expected_revision: u64,
    accept_removals: bool,
) -> Result<control::RefreshMxResponse, Failure> {
    let name = name.to_owned();
    let request = control::RefreshMxRequest { name, expected_revision, accept_removals };
    let answer = session.client.policies().refresh_mx(request).await;
    session.client.answer(answer)
}

fn finish(
    session: &Session,
    answer: control::RefreshMxResponse,
) -> Result<(control::Policy, bool), Failure> {
    if let Some(plan) = &answer.plan {
        if answer.changed {
            session.output.note_table(&table(plan));
        }
        remark(session, plan);
    }
    Ok((session.client.given(answer.policy)?, answer.changed))
}

async fn planned(session: &Session, name: &str) -> Result<control::MxPlan, Failure> {
    let request = control::PlanMxRefreshRequest { name: name.to_owned() };
    let answer = session.client.policies().plan_mx_refresh(request).await;
    session.client.given(session.client.answer(answer)?.plan)
}

fn table(plan: &control::MxPlan) -> Table {
    let mut table = Table::new(&["MX", "CHANGE", "BECAUSE"]);
    for change in &plan.changes {
        let action = match change.action() {
            MxAction::Unspecified => String::new(),
            action => word(action.as_str_name(), "MX_ACTION_"),
        };
        table.row([change.mx.clone(), action, change.because.clone()]);
    }
    table
}

fn remark(session: &Session, plan: &control::MxPlan) {
    for skipped in &plan.skipped {
        session.output.note(&format!("left out: {skipped}"));
    }
    if !plan.different {
        session.output.note("the mx lines match the live MX: nothing to change");
    }
}
