//! The changes of a [`DaemonAdmin`](super::DaemonAdmin). Each is checked, written to the state directory, and only then
//! takes effect, so that a change that was confirmed survives a restart.

use std::collections::BTreeMap;

use rouse_core::ipc::{AdminError, Denial, IdentityInfo};
use rouse_core::{Address, Identity};

use super::registry::Inner;
use crate::names;
use crate::state::{IdentityEntry, StateError};

/// The most further addresses of a node.
const MAX_IDENTITIES: usize = 1024;

/// The most names that can be given at run time.
const MAX_NAMES: usize = 65_536;

/// The answer to a client when a file could not be written.
pub(super) fn failed(error: StateError) -> AdminError {
    AdminError::new(
        Denial::Failed,
        error.to_string(),
        "check the permissions and free space of the daemon's state directory",
    )
}

impl Inner {
    /// The answer to a client that changes something of the configuration, which the daemon only reads.
    fn read_only(&self, what: &str) -> AdminError {
        let file = self.registry().config.as_ref().and_then(|config| config.file.clone());
        let (place, remedy) = match file.as_ref().map(|file| file.display()) {
            Some(file) => (file.to_string(), format!("change it in {file}, then `rouse reload`")),
            None => ("the flags of roused".to_owned(), "start roused again with other flags".to_owned()),
        };
        let text = format!("{what} is set in {place}, which the daemon never writes");
        AdminError::new(Denial::ReadOnly, text, remedy)
    }

    pub(super) fn new_identity(
        &self,
        label: Option<String>,
        owner_uid: u32,
    ) -> Result<IdentityInfo, AdminError> {
        let mut entries = self.registry().entries.clone();
        if let Some(label) = &label {
            names::check(label).map_err(|text| AdminError::new(Denial::Invalid, text, ""))?;
            if entries.iter().any(|entry| entry.label.as_ref() == Some(label)) {
                let text = format!("there is an address labelled `{label}` already");
                return Err(AdminError::new(Denial::Exists, text, "`rouse id list` shows it"));
            }
        }
        if entries.len() >= MAX_IDENTITIES {
            let text = format!("the node has {MAX_IDENTITIES} further addresses, which is the limit");
            return Err(AdminError::new(Denial::Full, text, "remove one with `rouse id remove`"));
        }
        let identity = Identity::generate();
        let address = identity.address();
        entries.push(IdentityEntry { address, label: label.clone(), owner_uid });
        self.state.save_secret(&identity).map_err(failed)?;
        self.state.write_entries(&entries).map_err(failed)?;
        self.registry().entries = entries;
        self.node.add_identity(identity);
        Ok(IdentityInfo { address, label, owner_uid })
    }

    pub(super) fn remove_identity(&self, address: Address) -> Result<(), AdminError> {
        if address == self.node.address() {
            let text = "this is the node's own address";
            return Err(AdminError::new(Denial::Invalid, text, "only further addresses can be removed"));
        }
        let mut entries = self.registry().entries.clone();
        let before = entries.len();
        entries.retain(|entry| entry.address != address);
        if entries.len() == before {
            let text = format!("{address} is not an address of this node");
            return Err(AdminError::new(Denial::NotFound, text, "`rouse id list` shows them"));
        }
        self.state.write_entries(&entries).map_err(failed)?;
        self.registry().entries = entries;
        self.node.remove_identity(&address);
        self.state.remove_secret(&address).map_err(failed)
    }

    pub(super) fn add_name(&self, name: String, address: Address) -> Result<(), AdminError> {
        names::check(&name).map_err(|text| AdminError::new(Denial::Invalid, text, ""))?;
        self.refuse_config_name(&name)?;
        let mut names = self.registry().names.clone();
        if names.len() >= MAX_NAMES && !names.contains_key(&name) {
            let text = format!("the address book has {MAX_NAMES} names, which is the limit");
            return Err(AdminError::new(Denial::Full, text, "remove one with `rouse name remove`"));
        }
        if let Some(known) = names.insert(name.clone(), address).filter(|known| *known != address) {
            let text = format!("`{name}` is {known} already");
            return Err(AdminError::new(Denial::Exists, text, "remove it first with `rouse name remove`"));
        }
        self.save_names(names)
    }

    pub(super) fn remove_name(&self, name: &str) -> Result<(), AdminError> {
        self.refuse_config_name(name)?;
        let mut names = self.registry().names.clone();
        if names.remove(name).is_none() {
            let text = format!("there is no name `{name}`");
            return Err(AdminError::new(Denial::NotFound, text, "`rouse name list` shows them"));
        }
        self.save_names(names)
    }

    fn save_names(&self, names: BTreeMap<String, Address>) -> Result<(), AdminError> {
        self.state.write_names(&names).map_err(failed)?;
        let mut registry = self.registry();
        registry.names = names;
        registry.index();
        Ok(())
    }

    fn refuse_config_name(&self, name: &str) -> Result<(), AdminError> {
        let known = self.registry().config_names().any(|(known, _)| known == name);
        if !known {
            return Ok(());
        }
        Err(self.read_only(&format!("the name `{name}`")))
    }

    pub(super) fn config_peer(&self, uri: &str) -> Option<AdminError> {
        let known = self.registry().config_peers().iter().any(|known| known == uri);
        known.then(|| self.read_only(&format!("the peer {uri}")))
    }
}
