//! The fleet as control sees it.

use service::caller::{Role, caller};
use tonic::{Request, Response, Status};
use wire::control as v1;
use wire::control::fleet_service_server::FleetService;

use super::{Api, broken};
use crate::change::policies_bucket;
use crate::sql::{Edge, Feed};
use crate::to_wire;

#[tonic::async_trait]
impl FleetService for Api {
    async fn get_fleet_status(
        &self,
        request: Request<v1::GetFleetStatusRequest>,
    ) -> Result<Response<v1::GetFleetStatusResponse>, Status> {
        let caller = caller(&request)?;
        let pool = self.core.domains.store().read();
        let edges = Edge::all(pool).await.map_err(|e| broken(&e))?;
        let feeds = Feed::all(pool).await.map_err(|e| broken(&e))?;
        let now = self.core.clock.now();
        let position = |edge: &Edge| {
            let bucket = policies_bucket(&edge.region);
            feeds.iter().find(|feed| feed.bucket == bucket).map_or(0, |feed| feed.position)
        };
        let mut edges: Vec<v1::EdgeStatus> =
            edges.iter().map(|edge| to_wire::edge(edge, position(edge), now)).collect();
        if caller.role < Role::PlatformAdmin {
            // They name and count domains of every workspace.
            for edge in &mut edges {
                edge.refused.clear();
                edge.domains = 0;
            }
        }
        let status = v1::FleetStatus { services: self.core.peers.serving().await, edges };
        Ok(Response::new(v1::GetFleetStatusResponse { status: Some(status) }))
    }
}
