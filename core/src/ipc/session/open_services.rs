//! The services that a connection has open.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::address::Address;
use crate::ipc::admin::{AdminError, Denial};
use crate::node::{Mailbox, Node};
use crate::types::Service;

/// The most services that one connection may have open.
const MAX_SERVICES: usize = 64;

/// The mailboxes of services that a connection has received from. They stay open as long as the connection, because
/// requests between two receptions would be refused otherwise.
#[derive(Default)]
pub(in crate::ipc) struct OpenServices(Mutex<BTreeMap<(Address, Service), Mailbox>>);

impl OpenServices {
    /// Closes all services, and returns their names.
    pub(super) fn close(&self) -> Vec<(Address, Service)> {
        let open = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        open.into_keys().collect()
    }

    /// The mailbox of a service of `to`, which is opened if necessary; `None` when the node does not have the address.
    pub(super) fn mailbox(
        &self,
        node: &Node,
        to: &Address,
        service: Service,
    ) -> Result<Option<Mailbox>, AdminError> {
        let Some(mailbox) = node.mailbox(to) else { return Ok(None) };
        if service.is_default() {
            return Ok(Some(mailbox));
        }
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An address that was removed and added again has another mailbox.
        open.retain(|_, mailbox| !mailbox.is_closed());
        if !open.contains_key(&(*to, service.clone())) && open.len() >= MAX_SERVICES {
            let text = format!("this connection has {MAX_SERVICES} services open, which is the limit");
            return Err(AdminError::new(Denial::Full, text, "use another connection"));
        }
        let open_service = || {
            mailbox
                .service(service.as_str())
                .map_err(|error| AdminError::new(Denial::Invalid, error.to_string(), ""))
        };
        Ok(Some(match open.get(&(*to, service.clone())) {
            Some(present) => present.clone(),
            None => {
                let opened = open_service()?;
                open.insert((*to, service), opened.clone());
                opened
            }
        }))
    }
}
