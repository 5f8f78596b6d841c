//! What is another workspace's answers as what isn't.

use dmarcer_tests::calls::{add_workspace, alone, by, make_token, raw, reason, refused, with};
use dmarcer_tests::{Failure, Outcome, netns};
use tonic::Status;
use wire::access::{Role, rpcs};
use wire::control::domain_service_client::DomainServiceClient;
use wire::control::token_service_client::TokenServiceClient;
use wire::control::workspace_service_client::WorkspaceServiceClient;
use wire::{Message as _, control, status};

use crate::tokens::{ONE_OF_EACH, is_taken_by_all};

/// The name of a thing taken out of an answer, wherever it stands: as text, and in binary details.
fn without(name: &str, said: &Result<Vec<u8>, Status>) -> (String, String, Vec<u8>) {
    let cut = |bytes: &[u8]| {
        let mut rest = bytes.to_vec();
        while let Some(at) = rest.windows(name.len()).position(|part| part == name.as_bytes()) {
            rest.splice(at..at + name.len(), *b"<name>");
        }
        rest
    };
    match said {
        Ok(answer) => ("OK".to_owned(), String::new(), cut(answer)),
        Err(said) => {
            let message = said.message().replace(name, "<name>");
            // A map's entries have no order: they are compared by what is read of them.
            let told = status::told(said);
            let mut metadata: Vec<_> = told.metadata.into_iter().collect();
            metadata.sort();
            let details = format!("{} {} {metadata:?}", told.reason, said.details().len());
            (format!("{:?}", said.code()), message, cut(details.as_bytes()))
        }
    }
}

#[test]
fn another_workspaces_domain_answers_every_rpc_as_one_that_is_nowhere() -> Outcome {
    // As long as the other, so that not even lengths tell.
    const THEIRS: &str = "theirs.example";
    const NOWHERE: &str = "nobody.example";
    netns::inside(|world| {
        alone(world, async |_, channel| {
            add_workspace(&channel, "their-workspace").await?;
            add_workspace(&channel, "own-workspace").await?;
            let theirs = make_token(&channel, "their-workspace", Role::DomainManager, &[]).await?;
            let own = make_token(&channel, "own-workspace", Role::DomainManager, &[]).await?;
            let add = control::AddDomainRequest { name: THEIRS.to_owned(), kind: 0 };
            let mut domains = DomainServiceClient::new(channel.clone());
            domains.add_domain(by(Some(&theirs), add)).await.map_err(refused)?;

            let mut compared = 0;
            for rpc in rpcs().into_iter().filter(|rpc| rpc.domain.is_some()) {
                // Adding it is allowed, and compared below; a look-up tells the time.
                let other = ["/AddDomain", "/LookupMx"];
                if other.iter().any(|name| rpc.path.ends_with(name)) {
                    continue;
                }
                let ask = async |name: &str| {
                    let message = rpc.request(&[(rpc.domain_field.as_str(), name)]);
                    raw(&channel, &rpc.path, by(Some(&own), message)).await
                };
                let (there, nowhere) = (ask(THEIRS).await, ask(NOWHERE).await);
                assert_eq!(without(THEIRS, &there), without(NOWHERE, &nowhere), "{}", rpc.path);
                assert!(there.is_err(), "{}", rpc.path);
                compared += 1;
            }
            assert!(compared >= 20, "{compared}");

            let add = async |name: &str| {
                let add = control::AddDomainRequest { name: name.to_owned(), kind: 0 };
                let mut domains = DomainServiceClient::new(channel.clone());
                let added = domains.add_domain(by(Some(&own), add)).await.map_err(refused)?;
                let mut added = added.into_inner();
                if let Some(domain) = &mut added.domain {
                    domain.created_at = None;
                }
                Ok::<_, Failure>(format!("{added:?}").replace(name, "<name>"))
            };
            assert_eq!(add(THEIRS).await?, add(NOWHERE).await?);
            Ok(())
        })
    })
}

#[test]
fn another_workspace_can_be_neither_chosen_nor_told_from_none() -> Outcome {
    const THEIRS: &str = "their-workspace";
    const NOWHERE: &str = "no-ones-ws-here";
    netns::inside(|world| {
        alone(world, async |_, channel| {
            add_workspace(&channel, THEIRS).await?;
            add_workspace(&channel, "own").await?;
            for role in [Role::ReadOnly, Role::DomainManager] {
                let own = make_token(&channel, "own", role, &[]).await?;
                let choose = async |id: &str| {
                    let list = control::ListDomainsRequest::default().encode_to_vec();
                    let asked = with(by(Some(&own), list), "dmarcer-workspace", id);
                    raw(&channel, ONE_OF_EACH[0], asked).await
                };
                let (there, nowhere) = (choose(THEIRS).await, choose(NOWHERE).await);
                assert_eq!(reason(&there), "WORKSPACE_NOT_FOUND", "{role:?}");
                assert_eq!(without(THEIRS, &there), without(NOWHERE, &nowhere), "{role:?}");
                assert_eq!(reason(&choose("own").await), "OK", "{role:?}");

                let mut workspaces = WorkspaceServiceClient::new(channel.clone());
                let mut show = async |id: &str| {
                    let show = control::GetWorkspaceRequest { id: id.to_owned() };
                    let shown = workspaces.get_workspace(by(Some(&own), show)).await;
                    shown.map(|shown| shown.into_inner().encode_to_vec())
                };
                let (there, nowhere) = (show(THEIRS).await, show(NOWHERE).await);
                assert_eq!(without(THEIRS, &there), without(NOWHERE, &nowhere), "{role:?}");
                let list = by(Some(&own), control::ListWorkspacesRequest::default());
                let listed = workspaces.list_workspaces(list).await.map_err(refused)?.into_inner();
                let ids: Vec<_> = listed.items.iter().map(|it| it.id.as_str()).collect();
                assert_eq!(ids, ["own"], "{role:?}");
            }
            Ok(())
        })
    })
}

#[test]
fn a_token_of_another_workspace_is_neither_shown_nor_ended() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            add_workspace(&channel, "theirs").await?;
            let theirs = make_token(&channel, "theirs", Role::DomainManager, &[]).await?;
            let own = make_token(&channel, "default", Role::DomainManager, &[]).await?;
            let id = theirs[4..16].to_owned();
            let nowhere = "zzzzzzzzzzzz".to_owned();
            let mut tokens = TokenServiceClient::new(channel.clone());
            let mut show = async |id: &String| {
                let show = control::GetTokenRequest { id: id.clone() };
                let shown = tokens.get_token(by(Some(&own), show)).await;
                shown.map(|shown| shown.into_inner().encode_to_vec())
            };
            let (there, none) = (show(&id).await, show(&nowhere).await);
            assert_eq!(reason(&there), "TOKEN_NOT_FOUND");
            assert_eq!(without(&id, &there), without(&nowhere, &none));
            let mut end = async |id: &String| {
                let end = control::RevokeTokenRequest { id: id.clone(), made_with_it_too: true };
                let ended = tokens.revoke_token(by(Some(&own), end)).await;
                ended.map(|ended| ended.into_inner().encode_to_vec())
            };
            let (there, none) = (end(&id).await, end(&nowhere).await);
            assert_eq!(reason(&there), "TOKEN_NOT_FOUND");
            assert_eq!(without(&id, &there), without(&nowhere, &none));
            is_taken_by_all(&channel, "theirs", &theirs).await
        })
    })
}
