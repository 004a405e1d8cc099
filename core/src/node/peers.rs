//! The peers that a node dials: they are added and removed while it runs.

use std::time::Duration;

use super::{Node, PeerError, RemovedPeer};
use crate::netmod::NetmodError;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::locks::{lock, read};
use crate::peering::NeighbourFilter;
use crate::rt;

/// The time that adding a peer waits for a netmod to check its URI.
const PARSE: Duration = Duration::from_millis(500);

impl Node {
    /// Dials a peer from now on, and again whenever the link to it fails.
    ///
    /// # Errors
    /// [`PeerError`]: there is no netmod for the URI's scheme, or the text is not a URI.
    pub async fn add_peer(&self, uri: &str) -> Result<(), PeerError> {
        let shared = &self.shared;
        if shared.is_stopping() {
            return Err(PeerError::Stopped);
        }
        let Some((scheme, place)) = uri.split_once(':').filter(|(scheme, rest)| {
            !scheme.is_empty() && !rest.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) else {
            return Err(PeerError::Invalid(format!(
                "{uri:?} is no peer: it does not begin with a scheme, such as udp:"
            )));
        };
        let mut media = read(&shared.media).values().cloned().collect::<Vec<_>>().into_iter();
        let Some(medium) = media.find(|medium| medium.netmod.scheme() == scheme) else {
            return Err(PeerError::NoNetmod { scheme: scheme.to_owned() });
        };
        // Only the netmod can check the rest of the URI. A check that takes long, such as the look-up of a name, is
        // left to the dial.
        let resolved = rt::timeout(PARSE, medium.netmod.resolve(place)).await;
        if let Some(Err(NetmodError::Invalid(reason))) = resolved {
            return Err(PeerError::Invalid(format!("{uri:?} is no peer: {reason}")));
        }
        lock(&shared.peering).add_peer(shared.now(), uri);
        shared.link_events.push(LinkEvent::Wake).await.map_err(|_| PeerError::Stopped)
    }

    /// Stops dialling a peer, and ends the link that this made unless there is another reason for the link: the
    /// neighbour was also discovered on the network, dialled this node itself, or is dialled under another URI. Returns
    /// the effect on the link.
    ///
    /// # Errors
    /// [`PeerError::Unknown`] when it was not dialled.
    pub async fn remove_peer(&self, uri: &str) -> Result<RemovedPeer, PeerError> {
        let shared = &self.shared;
        let effect = lock(&shared.peering).remove_peer(shared.now(), uri).ok_or(PeerError::Unknown)?;
        shared.link_events.push(LinkEvent::Wake).await.map_err(|_| PeerError::Stopped)?;
        Ok(effect)
    }

    /// Changes which addresses may become neighbours. Links to addresses that may not any more end at once, and their nodes
    /// are sent the reason.
    ///
    /// # Errors
    /// [`PeerError::Stopped`].
    pub async fn set_neighbour_filter(&self, neighbour_filter: NeighbourFilter) -> Result<(), PeerError> {
        lock(&self.shared.peering).set_neighbour_filter(neighbour_filter);
        self.shared.link_events.push(LinkEvent::Wake).await.map_err(|_| PeerError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::netmod::mem::MemNet;

    /// Waits until all links of a node are configured, or none is.
    async fn until_configured(node: &Node, configured: bool) {
        let holds = || {
            let neighbours = read(&node.shared.neighbours);
            !neighbours.is_empty() && neighbours.values().all(|known| known.is_configured() == configured)
        };
        while !holds() {
            rt::yield_now().await;
        }
    }

    #[test]
    fn a_link_is_configured_while_a_configured_peer_is_its_reason() {
        let test = async {
            let net = MemNet::new(1);
            let node = Node::builder().netmod(net.netmod("a")).start().await.unwrap();
            let _other = Node::builder().netmod(net.netmod("b")).start().await.unwrap();
            until_configured(&node, false).await;
            node.add_peer("mem:b").await.unwrap();
            until_configured(&node, true).await;
            let became = node.remove_peer("mem:b").await.unwrap();
            assert!(matches!(became, RemovedPeer::Found | RemovedPeer::DialledHere), "{became}");
            until_configured(&node, false).await;
        };
        block_on(async { rt::timeout(Duration::from_secs(60), test).await }).expect("in time");
    }
}
