//! The look-up of the paths to a configured peer.

use std::sync::Arc;

use crate::link::Path;
use crate::node::state::NodeState;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::locks::read;
use crate::peering::Input;

/// Requests the endpoints of a URI from the netmods of its scheme, in a task of its own because a name server may be
/// slow. The result arrives as an event.
pub(super) fn later(shared: &Arc<NodeState>, uri: String) {
    let shared_then = shared.clone();
    shared.spawn_vital("look-up of a peer", async move {
        let shared = shared_then;
        let result = paths(&shared, &uri).await;
        let _ = shared.link_events.push(LinkEvent::Input(Input::Resolved { uri, result })).await;
    });
}

/// The paths to a configured peer over all netmods of its scheme, in turns, because each netmod may reach networks that
/// the others do not.
async fn paths(shared: &NodeState, uri: &str) -> Result<Vec<Path>, String> {
    let (scheme, rest) =
        uri.split_once(':').ok_or("a peer is scheme:place, for example udp:192.0.2.7:7700")?;
    let media: Vec<_> =
        read(&shared.media).values().filter(|medium| medium.netmod.scheme() == scheme).cloned().collect();
    let mut error = format!("no netmod for {scheme}: is running");
    let mut ranked: Vec<(usize, Path)> = Vec::new();
    for medium in media {
        match medium.netmod.resolve(rest).await {
            Ok(endpoints) if endpoints.is_empty() => error = format!("{rest} has no address"),
            Ok(endpoints) => {
                let path = |endpoint| Path { netmod: medium.id, endpoint };
                ranked.extend(endpoints.into_iter().map(path).enumerate());
            }
            Err(failed) => error = failed.to_string(),
        }
    }
    // The sort is stable, so that of equal ranks the netmod that was added first comes first.
    ranked.sort_by_key(|(rank, _)| *rank);
    match ranked.is_empty() {
        true => Err(error),
        false => Ok(ranked.into_iter().map(|(_, path)| path).collect()),
    }
}
