//! `dmarcer activity`: how often senders fetch a policy.

use clap::Args;
use jiff::Timestamp;
use wire::intake;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::table::{Fields, Table};
use crate::cli::when::when;

const ACTIVITY: &str = "dmarcer.intake.v1.Activity";

/// How often senders fetch a domain's policy.
#[derive(Debug, Args)]
pub(crate) struct ActivityArgs {
    /// The domain
    name: String,
    /// Days to show, today included
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
}

pub(crate) async fn run(session: &Session, args: &ActivityArgs) -> Result<(), Failure> {
    let request = intake::GetActivityRequest {
        domain: args.name.clone(),
        days: args.days,
        ..Default::default()
    };
    let answer = session.client.activity().get_activity(request).await;
    let activity = session.client.answer(answer)?.activity;
    let activity = session.client.given(activity)?;
    session.output.one(ACTIVITY, &activity, || text(session, &activity))
}

fn text(session: &Session, activity: &intake::Activity) -> String {
    let headers = !session.options.no_headers;
    let last = when(activity.last_fetch_at.as_ref(), Timestamp::now());
    let fields = Fields::default()
        .with("Domain", &activity.domain)
        .with("Fetches", activity.total.to_string())
        .with("Last", last)
        .render();

    let mut days = Table::new(&["DATE", "FETCHES"]);
    for day in &activity.days {
        days.row([day.date.clone(), day.fetches.to_string()]);
    }
    let mut clients = Table::new(&["CLIENT", "FETCHES"]);
    for client in &activity.clients {
        clients.row([client.client.clone(), client.fetches.to_string()]);
    }
    let mut text = format!("{fields}\n{}", days.render(headers));
    if !clients.is_empty() {
        text = format!("{text}\n{}", clients.render(headers));
    }
    text
}
