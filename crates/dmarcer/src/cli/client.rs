//! Calls to a server.

use service::config::Secret;
use service::peer::{Peer, peer};
use tonic::{Response, Status};
use wire::control::domain_service_client::DomainServiceClient;
use wire::control::fleet_service_client::FleetServiceClient;
use wire::control::policy_service_client::PolicyServiceClient;
use wire::control::region_service_client::RegionServiceClient;
use wire::dns::record_service_client::RecordServiceClient;
use wire::intake::activity_service_client::ActivityServiceClient;
use wire::issuer::certificate_service_client::CertificateServiceClient;

use crate::cli::failure::Failure;

/// As many things are asked for at once; the server gives no more.
pub(crate) const PAGE_SIZE: i32 = 1000;
/// A list never has more pages: a server that goes on is broken.
const MAX_PAGES: usize = 10_000;

/// What to do without a token, or with one that is none.
pub(crate) const EXPORT_TOKEN: &str = "export DMARCER_TOKEN=\"$(cat <data_dir>/admin-token)\"";

/// A server to call.
pub(crate) struct Client {
    peer: Peer,
    server: String,
}

impl Client {
    /// Calls `server` with a token. Connects when first used.
    pub(crate) fn new(server: &str, token: Option<&str>) -> Result<Client, Failure> {
        let server = match server.contains("://") {
            true => server.to_owned(),
            false => format!("http://{server}"),
        };
        if server.starts_with("https://") {
            let message = format!("{server} can't be called over TLS yet: pass an http:// address");
            return Err(Failure::new("SERVER_INVALID", message)
                .hint("ssh -L 7443:127.0.0.1:7443 HOST, then --server http://127.0.0.1:7443"));
        }
        let Some(token) = token.filter(|token| !token.trim().is_empty()) else {
            let message = "this needs a token: pass --token or set DMARCER_TOKEN";
            return Err(Failure::new("TOKEN_REQUIRED", message).hint(EXPORT_TOKEN));
        };
        let token = Secret::new(token.trim().to_owned());
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "the token has a line break, a space or a letter that no token has: look \
                           at --token or DMARCER_TOKEN";
            return Err(Failure::new("TOKEN_INVALID", message).hint(EXPORT_TOKEN));
        }
        let peer = peer(&server, &token)
            .map_err(|e| Failure::new("SERVER_INVALID", format!("{e}: pass --server URL")))?;
        Ok(Client { peer, server })
    }

    /// What a call was answered.
    pub(crate) fn answer<T>(&self, outcome: Result<Response<T>, Status>) -> Result<T, Failure> {
        match outcome {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Failure::answered(&self.server, &status)),
        }
    }

    /// What an answer has to have in it.
    pub(crate) fn given<T>(&self, resource: Option<T>) -> Result<T, Failure> {
        let message = || format!("{} gave an answer with nothing in it", self.server);
        resource.ok_or_else(|| Failure::new("ANSWER_EMPTY", message()))
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
        Err(Failure::new("ANSWER_ENDLESS", format!("{} gives a list without end", self.server)))
    }

    pub(crate) fn regions(&self) -> RegionServiceClient<Peer> {
        RegionServiceClient::new(self.peer.clone())
    }

    pub(crate) fn domains(&self) -> DomainServiceClient<Peer> {
        DomainServiceClient::new(self.peer.clone())
    }

    pub(crate) fn policies(&self) -> PolicyServiceClient<Peer> {
        PolicyServiceClient::new(self.peer.clone())
    }

    pub(crate) fn records(&self) -> RecordServiceClient<Peer> {
        RecordServiceClient::new(self.peer.clone())
    }

    pub(crate) fn certificates(&self) -> CertificateServiceClient<Peer> {
        CertificateServiceClient::new(self.peer.clone())
    }

    pub(crate) fn activity(&self) -> ActivityServiceClient<Peer> {
        ActivityServiceClient::new(self.peer.clone())
    }

    pub(crate) fn fleet(&self) -> FleetServiceClient<Peer> {
        FleetServiceClient::new(self.peer.clone())
    }
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
        for token in ["two\nlines", "two words", "geheimnisk\u{e4}mer"] {
            let said = said(Client::new("http://127.0.0.1:1", Some(token)).err().unwrap());
            assert_eq!(said.reason, "TOKEN_INVALID", "{said:?}");
            assert!(!said.message.contains("--server") && !said.message.contains(token));
        }
        assert!(Client::new("http://127.0.0.1:1", Some(" token\n")).is_ok());
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
}
