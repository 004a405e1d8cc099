//! Which peers a node dials: added and removed while it runs.

use std::time::Duration;

use super::links::LinkEvent;
use super::neighbour::Order;
use super::shared::{lock, read};
use super::{Node, PeerError, RemovedPeer};
use crate::netmod::NetmodError;
use crate::rt;

/// How long adding a peer waits for a netmod to say whether its URI makes sense.
const PARSE: Duration = Duration::from_millis(500);

impl Node {
    /// Dials a peer from now on, again whenever the link to it fails.
    ///
    /// # Errors
    /// [`PeerError`]: no netmod for the URI's scheme, or not a URI.
    pub async fn add_peer(&self, uri: &str) -> Result<(), PeerError> {
        let shared = &self.shared;
        if shared.is_stopping() {
            return Err(PeerError::Stopped);
        }
        let Some((scheme, place)) = uri.split_once(':').filter(|(scheme, rest)| {
            !scheme.is_empty() && !rest.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) else {
            return Err(PeerError::Invalid(format!(
                "{uri:?} is no peer: write scheme:place, for example udp:192.0.2.7:7700"
            )));
        };
        let mut media = read(&shared.media).values().cloned().collect::<Vec<_>>().into_iter();
        let Some(medium) = media.find(|medium| medium.netmod.scheme() == scheme) else {
            return Err(PeerError::NoNetmod { scheme: scheme.to_owned() });
        };
        // Only the netmod knows what makes sense. What it cannot say at once, such as a name's address, is tried later.
        let resolved = rt::timeout(PARSE, medium.netmod.resolve(place)).await;
        if let Some(Err(NetmodError::Invalid(reason))) = resolved {
            return Err(PeerError::Invalid(format!("{uri:?} is no peer: {reason}")));
        }
        lock(&shared.dials).add(shared.now(), uri);
        shared.link_events.push(LinkEvent::Look).await.map_err(|_| PeerError::Stopped)
    }

    /// Dials a peer no longer, and ends the link that this made, unless there is another reason for it: the neighbour was also
    /// found on the network, dialled this node itself, or is dialled under another URI. Returns what became of the link.
    ///
    /// # Errors
    /// [`PeerError::Unknown`] when it was not dialled.
    pub async fn remove_peer(&self, uri: &str) -> Result<RemovedPeer, PeerError> {
        let shared = &self.shared;
        let (paths, address) = lock(&shared.dials).remove(uri).ok_or(PeerError::Unknown)?;
        let mut became = RemovedPeer::NoLink;
        let neighbours: Vec<_> = read(&shared.neighbours).values().cloned().collect();
        for neighbour in neighbours {
            let path = neighbour.path();
            if address != Some(neighbour.address) && !paths.contains(&path) {
                continue;
            }
            let this = lock(&shared.dials).why_linked(&path, &neighbour.address, neighbour.initiator);
            if this == RemovedPeer::Ended {
                let _ = neighbour.orders.push(Order::Goodbye).await;
            }
            became = became.max(this);
        }
        shared.link_events.push(LinkEvent::Forget { paths }).await.map_err(|_| PeerError::Stopped)?;
        Ok(became)
    }
}
