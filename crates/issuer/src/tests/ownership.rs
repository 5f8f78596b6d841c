//! Whose a name is: control's word, and what holds while it says none.

use audit::Filter;
use hosting::{Domain, Refusal};
use service::caller::{Call, Caller, Role};
use tonic::Code;
use wire::issuer::CertificateStatus;

use super::world::{self, World, wait_for};
use crate::order;
use crate::sql::{Reason, Reissue};

#[tokio::test]
async fn nothing_is_ordered_without_controls_word() {
    let world = World::local().await;
    world.control.claim("example.com", "acme", false);
    world.publish_policy("example.com").await;
    wait_for("control was asked", || async {
        (world.control.asked("example.com") > 0).then_some(())
    })
    .await;
    let shown = world.show("acme", "example.com").await.unwrap();
    assert_eq!(shown.status(), CertificateStatus::Waiting);
    assert_eq!(shown.serial, "");
    assert!(world.orders("acme", "example.com").await.is_empty());
    let refused = world.reissue("acme", "example.com").await.unwrap_err();
    assert_eq!(wire::status::told(&refused).reason, "NOT_PROVEN");
}

#[tokio::test]
async fn another_workspaces_certificate_looks_like_none() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    let other = world.show("other", "example.com").await.unwrap_err();
    let none = world.show("acme", "example.net").await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    assert_eq!(none.code(), Code::NotFound);
    assert_eq!(
        other.message().replace("example.com", ""),
        none.message().replace("example.net", "")
    );
    assert_eq!(world.reissue("other", "example.com").await.unwrap_err().code(), Code::NotFound);

    // An unproven claim beside the proven one tells nothing of that one's certificate.
    world.control.claim("example.com", "other", false);
    let shown = world.show("other", "example.com").await.unwrap();
    assert_eq!((shown.status(), shown.serial.as_str()), (CertificateStatus::Waiting, ""));
    assert!(world.orders("other", "example.com").await.is_empty());
}

#[tokio::test]
async fn while_control_is_away_an_owner_still_sees_the_certificate() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    world.control.away(true);
    let shown = world.show("acme", "example.com").await.unwrap();
    assert_ne!(shown.serial, "");
    let refused = world.show("other", "example.com").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let refused = world.reissue("acme", "example.com").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn an_order_under_way_ends_when_control_takes_its_word_back() {
    let (config, _ca_file) = world::unreachable_ca();
    let world = World::with(config).await;
    world.hosts("example.com", "acme").await;
    let order = world.begun("example.com", Reason::First).await;
    world.control.claim("example.com", "acme", false);
    let error = world.failed(&order).await.error;
    assert!(error.contains("isn't proven"), "{error}");
    assert_eq!(world.core.db.name("example.com").await.unwrap().failures, 0);

    // Nor does it go on for another workspace than the one that it was begun for.
    world.hosts("example.net", "acme").await;
    let order = world.begun("example.net", Reason::First).await;
    world.control.claim("example.net", "acme", false);
    world.control.claim("example.net", "other", true);
    world.failed(&order).await;
}

#[tokio::test]
async fn a_former_owner_sees_nothing_of_the_new_owners_while_control_is_away() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    // A new owner's policy takes the place of the old one's.
    world.control.claim("example.com", "acme", false);
    world.control.claim("example.com", "other", true);
    world.publish_policy_of("another claim", "example.com").await;
    wait_for("it was taken", || async {
        let name = world.core.db.name("example.com").await.unwrap();
        name.workspace.is_empty().then_some(())
    })
    .await;
    let refused = world.reissue("acme", "example.com").await.unwrap_err();
    assert_eq!(wire::status::told(&refused).reason, "NOT_PROVEN");
    world.control.away(true);
    for workspace in ["acme", "other", ""] {
        let refused = world.show(workspace, "example.com").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{workspace:?}");
    }
}

#[tokio::test]
async fn a_removed_name_is_nobodys_while_control_is_away() {
    let world = World::local().await;
    world.hosts("example.com", "acme").await;
    world.certificate("example.com").await;
    world.remove_policy("example.com").await;
    wait_for("the removal was taken", || async {
        let name = world.core.db.name("example.com").await.unwrap();
        name.workspace.is_empty().then_some(())
    })
    .await;
    world.publish_policy("example.com").await;
    wait_for("it is hosted again", || async {
        let hosted_in = world.core.db.hosted_in("example.com").await.unwrap();
        (!hosted_in.is_empty()).then_some(())
    })
    .await;
    world.control.away(true);
    let refused = world.show("acme", "example.com").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_reissue_is_not_begun_for_another_workspace_than_the_one_that_asks() {
    let world = World::local().await;
    world.control.claim("example.com", "acme", true);
    let (core, domain) = (&world.core, &Domain::parse("example.com").unwrap());
    let asked = async |workspace| {
        let by = Caller::new("test", workspace, Role::DomainManager);
        let call = Call::from_here(by.clone());
        order::begin_reissue(core, domain, "eu-1", &by, &call).await.unwrap()
    };
    let refused = Refusal::NotProven { domain: domain.clone() };
    assert_eq!(asked("other").await, Reissue::Refused(refused));
    assert!(core.db.in_flight("example.com").await.unwrap().is_none());
    assert!(core.db.audit.list("other", &Filter::default(), None, 9).await.unwrap().is_empty());
    assert!(matches!(asked("acme").await, Reissue::Order(_)));
}
