//! A node that is served to programs at the other ends of streams, with an administration that carries out what it can.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use rouse_core::ipc::{Admin, AdminError, Denial, IdentityInfo, NameInfo, PeerInfo, Source, serve_stream};
use rouse_core::{Address, Identity, Limits, Node};

/// The user that owns the node and its first identity.
pub const OWNER: u32 = 1000;
/// A user that owns the second identity.
pub(crate) const OTHER: u32 = 1001;

/// The identities of the node, the owner's first.
pub fn identity(number: u8) -> Identity {
    Identity::from_seed(&[0x60 + number; 32])
}

/// The address of an identity, computed once, since that costs more than a request.
fn address(number: u8) -> Address {
    static ADDRESSES: LazyLock<[Address; 2]> =
        LazyLock::new(|| [0, 1].map(|number| identity(number).address()));
    ADDRESSES[usize::from(number)]
}

/// The administration of the node, without files.
struct FuzzAdmin(Node);

fn none<T>() -> Result<T, AdminError> {
    Err(AdminError::new(Denial::Failed, "not while fuzzing", ""))
}

#[async_trait]
impl Admin for FuzzAdmin {
    fn may_administer(&self, uid: u32) -> bool {
        uid == OWNER
    }
    fn owner(&self, address: &Address) -> Option<u32> {
        let owner = if *address == self::address(1) { OTHER } else { OWNER };
        self.0.addresses().contains(address).then_some(owner)
    }
    fn default_address(&self, uid: u32) -> Option<Address> {
        let number = u8::from(uid != OWNER);
        Some(address(number))
    }
    fn name_of(&self, address: &Address) -> Option<String> {
        (*address == self.0.address()).then(|| "me".to_owned())
    }
    fn identities(&self) -> Vec<IdentityInfo> {
        let info = |address| IdentityInfo { address, label: Some("label".into()), owner_uid: OWNER };
        self.0.addresses().into_iter().map(info).collect()
    }
    async fn new_identity(&self, label: Option<String>, owner_uid: u32) -> Result<IdentityInfo, AdminError> {
        let identity = identity(2);
        let address = identity.address();
        self.0.add_identity(identity);
        Ok(IdentityInfo { address, label, owner_uid })
    }
    async fn remove_identity(&self, address: &Address) -> Result<(), AdminError> {
        if *address != identity(2).address() {
            return none();
        }
        self.0.remove_identity(address);
        Ok(())
    }
    fn names(&self) -> Vec<NameInfo> {
        vec![NameInfo { name: "me".into(), address: self.0.address(), source: Source::Config }]
    }
    async fn add_name(&self, name: String, _: Address) -> Result<(), AdminError> {
        Err(AdminError::new(Denial::ReadOnly, name, ""))
    }
    async fn remove_name(&self, _: &str) -> Result<(), AdminError> {
        none()
    }
    async fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }
    async fn add_peer(&self, uri: &str) -> Result<(), AdminError> {
        let added = self.0.add_peer(uri).await;
        added.map_err(|error| AdminError::new(Denial::Invalid, error.to_string(), ""))
    }
    async fn remove_peer(&self, uri: &str) -> Result<String, AdminError> {
        let removed = self.0.remove_peer(uri).await.map(|became| became.to_string());
        removed.map_err(|error| AdminError::new(Denial::NotFound, error.to_string(), ""))
    }
    async fn reload(&self) -> Result<String, AdminError> {
        Ok("reloaded".into())
    }
    fn stop(&self) {}
}

/// A node and its administration.
pub struct ServedNode {
    /// The node.
    pub node: Node,
    admin: Arc<FuzzAdmin>,
}

impl ServedNode {
    /// A node without netmods, with two identities.
    ///
    /// # Panics
    /// When the node does not start.
    pub async fn start() -> Self {
        let limits = Limits { senders: 32, inbox_messages: 64, ..Limits::default() };
        let node = Node::builder().identity(identity(0)).limits(limits).seed([6; 32]).start().await;
        let node = node.expect("a node without netmods starts");
        node.add_identity(identity(1));
        ServedNode { admin: Arc::new(FuzzAdmin(node.clone())), node }
    }

    /// Serves the program at the other end of `stream` as this user.
    pub fn serve(&self, stream: UnixStream, uid: u32) -> impl Future<Output = io::Result<()>> + use<> {
        serve_stream(stream, uid, self.node.clone(), self.admin.clone())
    }

    /// Whether no connection is left, since each holds the administration.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.admin) == 1
    }
}
