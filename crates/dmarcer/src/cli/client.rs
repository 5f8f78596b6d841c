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
            return Err(Failure::new("TOKEN_REQUIRED", message)
                .hint("export DMARCER_TOKEN=\"$(cat <data_dir>/admin-token)\""));
        };
        let token = Secret::new(token.trim().to_owned());
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
