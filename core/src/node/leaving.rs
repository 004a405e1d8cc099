//! The departure of a node or of a medium: the neighbours get a goodbye and nothing after it, so that they use other
//! routes at once instead of waiting for silence.

use std::time::Duration;

use futures::future::{join, join_all};

use crate::node::reply;
use crate::node::state::NodeState;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::locks::read;
use crate::node::state::neighbour::Neighbour;
use crate::rt;

/// The time that a node waits until its links have ended with a goodbye. It is more than a link needs at most.
const GOODBYE: Duration = Duration::from_millis(750);

/// Sends a goodbye to all neighbours, including those whose handshake is being completed, and admits no links from then
/// on.
pub(super) async fn leave(shared: &NodeState) {
    shared.leave();
    let (done, left) = reply::reply();
    let handshakes = async {
        if shared.link_events.push(LinkEvent::Leave { done }).await.is_ok() {
            let _ = left.await;
        }
    };
    rt::timeout(GOODBYE * 2, join(send_goodbye(shared, |_| true), handshakes)).await;
}

/// Ends the links that `which` selects, each with a goodbye if that does not take long. All are asked before any is
/// waited for, so that a slow medium delays the others only once.
pub(super) async fn send_goodbye(shared: &NodeState, which: impl Fn(&Neighbour) -> bool) {
    let all: Vec<_> = read(&shared.neighbours).values().cloned().collect();
    let leaving: Vec<_> = all.into_iter().filter(|neighbour| which(neighbour)).collect();
    for neighbour in &leaving {
        neighbour.leave();
    }
    let gone = leaving.iter().map(|neighbour| neighbour.retired.when(|retired| retired.then_some(())));
    rt::timeout(GOODBYE, join_all(gone)).await;
    for neighbour in leaving {
        if neighbour.retire(shared) {
            neighbour.announce_end(shared, "ended by this node").await;
        }
    }
}
