//! Calls to a server.

use service::config::Secret;
use service::token::{PREFIX, Token};
use tonic::codegen::http::HeaderValue;
use tonic::{Response, Status};
use wire::control::audit_service_client::AuditServiceClient;
use wire::control::domain_service_client::DomainServiceClient;
use wire::control::fleet_service_client::FleetServiceClient;
use wire::control::identity_service_client::IdentityServiceClient;
use wire::control::member_service_client::MemberServiceClient;
use wire::control::policy_service_client::PolicyServiceClient;
use wire::control::region_service_client::RegionServiceClient;
use wire::control::sign_in_service_client::SignInServiceClient;
use wire::control::token_service_client::TokenServiceClient;
use wire::control::workspace_service_client::WorkspaceServiceClient;
use wire::dns::record_service_client::RecordServiceClient;
use wire::intake::activity_service_client::ActivityServiceClient;
use wire::issuer::certificate_service_client::CertificateServiceClient;

use crate::cli::calls::{Calls, Carried, Keys};
use crate::cli::failure::Failure;
use crate::cli::settings::{Server, Settings, TokenFrom};

/// As many things are asked for at once; the server gives no more.
pub(crate) const PAGE_SIZE: i32 = 1000;
/// A list never has more pages: a server that goes on is broken.
const MAX_PAGES: usize = 10_000;
/// The id of no workspace is longer.
const MAX_WORKSPACE_BYTES: usize = 64;

/// A server to call.
pub(crate) struct Client {
    calls: Calls,
    server: Server,
    token: Option<(Secret, TokenFrom)>,
    workspace: Option<String>,
    idempotency_key: Option<String>,
}

impl Client {
    /// Calls `server` with a token. Connects when first used.
    pub(crate) fn new(server: &str, token: Option<&str>) -> Result<Client, Failure> {
        let server = Server::parse(server)?;
        let token = (Secret::new(token.unwrap_or_default().to_owned()), TokenFrom::Flag);
        Client::made(server, Some(token), None, None)
    }

    /// Calls the server of these settings.
    pub(crate) fn with(settings: &Settings) -> Result<Client, Failure> {
        let token = (settings.token.clone(), settings.token_from.clone());
        Client::made(settings.server.clone(), Some(token), settings.workspace.clone(), None)
    }

    /// Calls `server` as whoever this token is.
    pub(crate) fn as_somebody(
        server: &Server,
        token: &Secret,
        from: TokenFrom,
    ) -> Result<Client, Failure> {
        Client::made(server.clone(), Some((token.clone(), from)), None, None)
    }

    /// Calls `server` as nobody, as who wants to sign in.
    pub(crate) fn nobody(server: &Server) -> Result<Client, Failure> {
        Client::made(server.clone(), None, None, None)
    }

    /// The same with a key for the first change; further ones get numbers behind it.
    pub(crate) fn marking(self, key: Option<String>) -> Result<Client, Failure> {
        Client::made(self.server, self.token, self.workspace, key)
    }

    /// The same in another workspace.
    pub(crate) fn in_workspace(&self, id: &str) -> Result<Client, Failure> {
        let key = self.idempotency_key.clone();
        Client::made(self.server.clone(), self.token.clone(), Some(id.to_owned()), key)
    }

    fn made(
        server: Server,
        token: Option<(Secret, TokenFrom)>,
        workspace: Option<String>,
        idempotency_key: Option<String>,
    ) -> Result<Client, Failure> {
        // An empty one chooses none, whatever the context says.
        let workspace = workspace.filter(|id| !id.is_empty());
        let carried = Carried {
            authorization: token.as_ref().map(bearer).transpose()?,
            workspace: workspace.as_deref().map(header).transpose()?,
            keys: Keys::new(idempotency_key.clone()),
        };
        let calls = Calls::new(server.as_str(), carried).map_err(|e| {
            Failure::new("SERVER_INVALID", format!("{server} is no address to call: {e}"))
        })?;
        Ok(Client { calls, server, token, workspace, idempotency_key })
    }

    /// What a call was answered.
    pub(crate) fn answer<T>(&self, outcome: Result<Response<T>, Status>) -> Result<T, Failure> {
        match outcome {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => {
                let mut failure = Failure::answered(self.server.as_str(), &status);
                if let Some(key) = self.calls.lost() {
                    failure = failure.may_have_changed(key);
                }
                match &self.token {
                    Some((_, from)) => Err(failure.with_token_from(from)),
                    None => Err(failure),
                }
            }
        }
    }

    /// What an answer has to have in it.
    pub(crate) fn given<T>(&self, resource: Option<T>) -> Result<T, Failure> {
        let message = || format!("{} gave an answer with nothing in it", self.server);
        resource.ok_or_else(|| Failure::new("ANSWER_EMPTY", message()))
    }

    /// What is the same in all workspaces of a caller: who chose none is asked for in one of theirs.
    pub(crate) async fn anywhere<T>(
        &self,
        ask: impl AsyncFn(&Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let refused = match ask(self).await {
            Err(failure) if failure.reason() == "WORKSPACE_REQUIRED" => failure,
            outcome => return outcome,
        };
        let theirs = refused.variable("workspaces").and_then(|list| list.split(", ").next());
        match theirs.map(|id| self.in_workspace(id)).transpose()? {
            Some(client) => ask(&client).await,
            None => Err(refused),
        }
    }

    /// All pages of a list. `page` takes a page token and gives a page with the next one.
    pub(crate) async fn all<T>(
        &self,
        mut page: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut token = String::new();
        for _ in 0..MAX_PAGES {
            let (more, next) = page(token.clone()).await?;
            items.extend(more);
            if next.is_empty() {
                return Ok(items);
            }
            if next == token {
                break;
            }
            token = next;
        }
        Err(self.endless())
    }

    /// A list that goes on and on.
    pub(crate) fn endless(&self) -> Failure {
        Failure::new("ANSWER_ENDLESS", format!("{} gives a list without end", self.server))
    }

    pub(crate) fn regions(&self) -> RegionServiceClient<Calls> {
        RegionServiceClient::new(self.calls.clone())
    }

    pub(crate) fn domains(&self) -> DomainServiceClient<Calls> {
        DomainServiceClient::new(self.calls.clone())
    }

    pub(crate) fn policies(&self) -> PolicyServiceClient<Calls> {
        PolicyServiceClient::new(self.calls.clone())
    }

    pub(crate) fn records(&self) -> RecordServiceClient<Calls> {
        RecordServiceClient::new(self.calls.clone())
    }

    pub(crate) fn certificates(&self) -> CertificateServiceClient<Calls> {
        CertificateServiceClient::new(self.calls.clone())
    }

    pub(crate) fn activity(&self) -> ActivityServiceClient<Calls> {
        ActivityServiceClient::new(self.calls.clone())
    }

    pub(crate) fn fleet(&self) -> FleetServiceClient<Calls> {
        FleetServiceClient::new(self.calls.clone())
    }

    pub(crate) fn identity(&self) -> IdentityServiceClient<Calls> {
        IdentityServiceClient::new(self.calls.clone())
    }

    pub(crate) fn sign_in(&self) -> SignInServiceClient<Calls> {
        SignInServiceClient::new(self.calls.clone())
    }

    pub(crate) fn workspaces(&self) -> WorkspaceServiceClient<Calls> {
        WorkspaceServiceClient::new(self.calls.clone())
    }

    pub(crate) fn members(&self) -> MemberServiceClient<Calls> {
        MemberServiceClient::new(self.calls.clone())
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Calls> {
        TokenServiceClient::new(self.calls.clone())
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Calls> {
        AuditServiceClient::new(self.calls.clone())
    }
}

/// A token as calls carry it.
///
/// # Errors
/// One that can't be right is not sent: it may be another secret that was pasted by mistake.
fn bearer((token, from): &(Secret, TokenFrom)) -> Result<HeaderValue, Failure> {
    let token = token.expose().trim();
    if token.is_empty() {
        return Err(Failure::token_required());
    }
    let invalid = |why: &str| {
        let message = format!("{from}: the token {why}");
        Failure::new("TOKEN_INVALID", message).hints_for_token(from)
    };
    look_at(token).map_err(invalid)?;
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header.map_err(|_| invalid("can't be sent"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Says why a text can't be a token.
pub(crate) fn look_at(token: &str) -> Result<(), &'static str> {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a line break, a space or a letter that no token has");
    }
    // An admin token that is configured may be any text.
    match token.starts_with(PREFIX) && Token::parse(token).is_err() {
        true => Err("is cut short or mistyped"),
        false => Ok(()),
    }
}

fn header(workspace: &str) -> Result<HeaderValue, Failure> {
    let fits = workspace.len() <= MAX_WORKSPACE_BYTES
        && workspace.bytes().all(|byte| byte.is_ascii_graphic());
    let header = HeaderValue::from_str(workspace).ok().filter(|_| fits);
    header.ok_or_else(|| {
        let message = format!("{workspace:?} is no workspace's id: pass --workspace ID");
        Failure::new("WORKSPACE_INVALID", message).hint("dmarcer workspace list")
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use wire::control::GetFleetStatusRequest;

    use super::*;
    use crate::cli::failure::Said;

    fn said(failure: Failure) -> Said {
        match failure {
            Failure::Said(said) => *said,
            Failure::ClosedPipe => panic!("nothing is said"),
        }
    }

    // A connection that is made later needs a runtime now.
    #[tokio::test]
    async fn a_token_that_is_none_is_not_blamed_on_the_server() {
        for token in ["two\nlines", "two words", "geheimnisk\u{e4}mer", "dmr_0123"] {
            let said = said(Client::new("http://127.0.0.1:1", Some(token)).err().unwrap());
            assert_eq!(said.reason, "TOKEN_INVALID", "{said:?}");
            assert!(!said.message.contains("--server") && !said.message.contains(token));
        }
        assert!(Client::new("http://127.0.0.1:1", Some(" token\n")).is_ok());
        for token in [None, Some(""), Some(" \n")] {
            let refused = Client::new("http://127.0.0.1:1", token).err().unwrap();
            assert_eq!(refused.reason(), "TOKEN_REQUIRED", "{token:?}");
        }
    }

    #[tokio::test]
    async fn another_server_than_ours_is_not_taken_for_a_slow_one() {
        for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", ""] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move {
                while let Ok((mut connection, _)) = listener.accept().await {
                    let mut some = [0; 64];
                    let _ = connection.read(&mut some).await;
                    let _ = connection.write_all(answer.as_bytes()).await;
                }
            });
            let client = Client::new(&at, Some("token")).unwrap();
            let fleet = client.fleet().get_fleet_status(GetFleetStatusRequest {}).await;
            let said = said(client.answer(fleet).unwrap_err());
            assert!(said.message.contains("--server"), "{said:?}");
            assert!(!said.message.contains("in time"), "{said:?}");
        }
    }

    #[tokio::test]
    async fn who_chose_no_workspace_is_asked_for_in_one_of_theirs() {
        let client = Client::new("http://127.0.0.1:1", Some("token")).unwrap();
        let asked = async |client: &Client| match client.workspace.clone() {
            Some(id) => Ok(id),
            None => Err(Failure::new("WORKSPACE_REQUIRED", "several").with("workspaces", "a, b")),
        };
        assert_eq!(client.anywhere(asked).await.unwrap(), "a");
        let nowhere =
            async |_: &Client| Err::<(), _>(Failure::new("WORKSPACE_REQUIRED", "several"));
        assert_eq!(client.anywhere(nowhere).await.unwrap_err().reason(), "WORKSPACE_REQUIRED");
    }
}
