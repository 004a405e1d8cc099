//! What waits for the router, in four lanes, so that nobody's haste keeps another waiting.
//!
//! What the node itself has to say comes first: links that come and go or are in doubt, addresses, verified signatures. No
//! neighbour can fill that lane. Then come a look at the routes and hints, a few of each; then one neighbour, for a moment.
//! Neighbours stand in a line, each once, and what each has said waits in a bounded queue of its own
//! ([`Hearing`](crate::node::neighbour::Hearing)).

use futures::channel::oneshot;
use futures::future::{Either, select};

use super::{Hint, RouterEvent};
use crate::address::Address;
use crate::inbox::{Closed, Full, Inbox};
use crate::route::NeighbourId;
use crate::rt::Alarm;
use crate::types::Route;

/// Events of the node itself that may wait: as many as come of links in a moment, and the writers of more wait.
const EVENTS: usize = 16_384;
/// Requests for routes that may wait, and hints. More hints are dropped.
const LOOKS: usize = 1024;
const HINTS: usize = 1024;
/// More than there can be neighbours.
const LINE: usize = 1 << 20;
/// So many requests and hints are served in one round.
const BATCH: usize = 64;

/// A request for the routes to one destination, or for all.
pub(crate) struct Look {
    pub(super) to: Option<Address>,
    pub(super) reply: oneshot::Sender<Vec<Route>>,
}

/// What waits for the router. See the [module's page](self).
pub(crate) struct RouterInputs {
    events: Inbox<RouterEvent>,
    looks: Inbox<Look>,
    hints: Inbox<Hint>,
    line: Inbox<NeighbourId>,
}

impl Default for RouterInputs {
    fn default() -> Self {
        RouterInputs {
            events: Inbox::new(EVENTS, Full::Wait),
            looks: Inbox::new(LOOKS, Full::Wait),
            hints: Inbox::new(HINTS, Full::RefuseNewest),
            line: Inbox::new(LINE, Full::RefuseNewest),
        }
    }
}

impl RouterInputs {
    /// Tells the router something that must not get lost.
    pub(crate) async fn tell(&self, event: RouterEvent) {
        // A router that has ended needs to know nothing.
        let _ = self.events.push(event).await;
    }

    /// Tells the router something that it may do without.
    pub(crate) fn hint(&self, hint: Hint) {
        let _ = self.hints.try_push(hint);
    }

    /// The routes to one destination, or all; none when the node stops.
    pub(crate) async fn look(&self, to: Option<Address>) -> Vec<Route> {
        let (reply, routes) = oneshot::channel();
        match self.looks.push(Look { to, reply }).await {
            Ok(()) => routes.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Puts a neighbour at the end of the line.
    pub(crate) fn line_up(&self, id: NeighbourId) {
        let _ = self.line.try_push(id);
    }

    /// Who stands in the line; they do no more.
    #[cfg(test)]
    pub(crate) fn in_line(&self) -> Vec<NeighbourId> {
        std::iter::from_fn(|| self.line.try_recv().ok()).collect()
    }

    pub(crate) fn close(&self) {
        self.events.close();
        self.looks.close();
        self.hints.close();
        self.line.close();
    }
}

/// What the router has taken out of its lanes for one round.
#[derive(Default)]
pub(super) struct Round {
    pub(super) events: Vec<RouterEvent>,
    pub(super) looks: Vec<Look>,
    pub(super) hints: Vec<Hint>,
    pub(super) neighbour: Option<NeighbourId>,
}

impl Round {
    /// Takes what is there: all events, since a neighbour's turn must not come before the event that it is up.
    pub(super) fn take(&mut self, inputs: &RouterInputs) {
        let _ = inputs.events.try_recv_batch(&mut self.events, usize::MAX);
        if self.looks.is_empty() {
            let _ = inputs.looks.try_recv_batch(&mut self.looks, BATCH);
        }
        if self.hints.is_empty() {
            let _ = inputs.hints.try_recv_batch(&mut self.hints, BATCH);
        }
        self.neighbour = self.neighbour.or_else(|| inputs.line.try_recv().ok());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.looks.is_empty() && self.hints.is_empty() && self.neighbour.is_none()
    }

    /// Waits until there is something in one of the lanes, or the alarm goes off.
    pub(super) async fn wait(&mut self, inputs: &RouterInputs, alarm: &mut Alarm) -> Result<(), Closed> {
        let events = inputs.events.recv_batch_into(&mut self.events, usize::MAX);
        let looks = inputs.looks.recv_batch_into(&mut self.looks, BATCH);
        let hints = inputs.hints.recv_batch_into(&mut self.hints, BATCH);
        let line = inputs.line.recv();
        let (events, looks) = (std::pin::pin!(events), std::pin::pin!(looks));
        let (hints, line) = (std::pin::pin!(hints), std::pin::pin!(line));
        match select(events, select(looks, select(hints, select(line, alarm.wait())))).await {
            Either::Left((events, _)) => events.map(drop),
            Either::Right((Either::Left((looks, _)), _)) => looks.map(drop),
            Either::Right((Either::Right((Either::Left((hints, _)), _)), _)) => hints.map(drop),
            Either::Right((Either::Right((Either::Right((Either::Left((id, _)), _)), _)), _)) => {
                self.neighbour = Some(id?);
                Ok(())
            }
            Either::Right((Either::Right((Either::Right((Either::Right(((), _)), _)), _)), _)) => Ok(()),
        }
    }
}
