//! The work of neighbours, charged to their [accounts](super::accounts).

use std::time::Duration;

use super::Router;
use super::accounts::{ChargedAccounts, Resource, ResourceTokens, TIME};
use super::types::NeighbourId;
use crate::time::Time;

impl Router {
    /// The accounts that pay for a neighbour's work; `None` without such a neighbour.
    fn charged_accounts(&self, id: NeighbourId) -> Option<ChargedAccounts> {
        let neighbour = self.neighbours.get(&id)?;
        let stranger = Some((neighbour.location, neighbour.reserve)).filter(|_| !neighbour.configured);
        Some(ChargedAccounts { address: neighbour.address, stranger })
    }

    /// The user has configured this neighbour, or no longer does.
    pub fn neighbour_configured(&mut self, id: NeighbourId, configured: bool) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.configured = configured;
        }
    }

    /// Whether a neighbour has that many tokens of a resource left.
    pub(super) fn can_charge(&self, now: Time, id: NeighbourId, amount: ResourceTokens) -> bool {
        self.charged_accounts(id).is_some_and(|charged| self.accounts.has(now, charged, amount))
    }

    /// Takes tokens from a neighbour whether it has them or not. Its reserve pays only if the shared accounts cannot,
    /// so that it is still there when others have emptied them.
    pub(super) fn charge(&mut self, now: Time, id: NeighbourId, amount: ResourceTokens) {
        let Some(charged) = self.charged_accounts(id) else { return };
        let is_shared = self.accounts.others_left(now, charged, amount);
        self.accounts.spend(now, charged, amount);
        if let Some(neighbour) = self.neighbours.get_mut(&id).filter(|_| !is_shared) {
            neighbour.reserve.spend(now, amount);
        }
    }

    /// Takes tokens from a neighbour that has sent something false. Its reserve pays as well, because the reserve
    /// protects neighbours that others would harm and not those that do the harm.
    pub(super) fn charge_penalty(&mut self, now: Time, id: NeighbourId, amount: ResourceTokens) {
        let Some(charged) = self.charged_accounts(id) else { return };
        self.accounts.spend(now, charged, amount);
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.reserve.spend(now, amount);
        }
    }

    /// Takes tokens from a neighbour if it has them.
    pub(super) fn try_charge(&mut self, now: Time, id: NeighbourId, amount: ResourceTokens) -> bool {
        let can_charge = self.can_charge(now, id, amount);
        if can_charge {
            self.charge(now, id, amount);
        }
        can_charge
    }

    /// The shell has spent that much time on messages of a neighbour.
    pub fn neighbour_worked(&mut self, now: Time, id: NeighbourId, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.charge(now, id, Resource::Time.tokens(TIME, micros));
    }

    /// The time until which the shell must not read from a neighbour that has caused too much work; `None` if it may
    /// read now. A pause pushes back on the sender instead of dropping its messages, because the channel must stay
    /// lossless.
    pub fn neighbour_rests(&self, now: Time, id: NeighbourId) -> Option<Time> {
        let charged = self.charged_accounts(id)?;
        Some(self.accounts.time_settled_at(charged)).filter(|until| *until > now)
    }
}
