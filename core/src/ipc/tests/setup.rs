//! A server for a node without netmods, and raw connections to it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::ipc::protocol::{
    Call, ClientFrame, DaemonFrame, GREETING_LENGTH, GreetingCode, Reply, VERSION, encode_greeting,
};
use crate::ipc::{
    Access, Admin, AdminError, Client, Denial, IdentityInfo, NameInfo, PeerInfo, Server, Source,
};
use crate::node::Node;
use crate::wire::codec;
use crate::{Address, Identity, Outgoing, rt};

/// The number of names in the address book, whose list fills an outbox by itself.
const NAMES: usize = 30_000;

/// An administration in which every address of the node belongs to `owner`, except those in `others`.
pub(super) struct TestAdmin {
    pub(super) node: Node,
    pub(super) others: HashMap<Address, u32>,
    pub(super) owner: u32,
    pub(super) stopped: AtomicBool,
    /// Another daemon has taken over the state directory.
    pub(super) lost: AtomicBool,
    /// The number of times that the names were listed.
    pub(super) listed: AtomicUsize,
}

impl TestAdmin {
    pub(super) fn new(node: &Node, others: HashMap<Address, u32>, owner: u32) -> Self {
        let (stopped, lost, listed) = Default::default();
        TestAdmin { node: node.clone(), others, owner, stopped, lost, listed }
    }
}

fn none<T>() -> Result<T, AdminError> {
    Err(AdminError::new(Denial::Failed, "not in this test", ""))
}

#[async_trait]
impl Admin for TestAdmin {
    fn may_administer(&self, uid: u32) -> bool {
        uid == self.owner
    }
    fn owner(&self, address: &Address) -> Option<u32> {
        let known = self.node.addresses().contains(address);
        known.then(|| self.others.get(address).copied().unwrap_or(self.owner))
    }
    fn default_address(&self, uid: u32) -> Option<Address> {
        if uid == self.owner {
            return Some(self.node.address());
        }
        self.others.iter().find(|(_, owner)| **owner == uid).map(|(address, _)| *address)
    }
    fn name_of(&self, address: &Address) -> Option<String> {
        (*address == self.node.address()).then(|| "me".to_owned())
    }
    fn identities(&self) -> Vec<IdentityInfo> {
        Vec::new()
    }
    async fn new_identity(&self, _: Option<String>, _: u32) -> Result<IdentityInfo, AdminError> {
        none()
    }
    async fn remove_identity(&self, _: &Address) -> Result<(), AdminError> {
        none()
    }
    fn names(&self) -> Vec<NameInfo> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        vec![NameInfo { name: "me".into(), address: self.node.address(), source: Source::Config }; NAMES]
    }
    async fn add_name(&self, name: String, _: Address) -> Result<(), AdminError> {
        Err(AdminError::new(Denial::ReadOnly, format!("{name} stands in roused.toml"), "change it there"))
    }
    async fn remove_name(&self, _: &str) -> Result<(), AdminError> {
        none()
    }
    async fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }
    async fn add_peer(&self, _: &str) -> Result<(), AdminError> {
        none()
    }
    async fn remove_peer(&self, _: &str) -> Result<String, AdminError> {
        none().map(|()| String::new())
    }
    async fn reload(&self) -> Result<String, AdminError> {
        Ok("reloaded".into())
    }
    fn may_bind(&self) -> Result<(), String> {
        match self.lost.load(Ordering::SeqCst) {
            true => Err("it is another daemon's".to_owned()),
            false => Ok(()),
        }
    }
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

pub(super) struct Setup {
    pub(super) node: Node,
    pub(super) admin: Arc<TestAdmin>,
    pub(super) server: Arc<Server>,
    pub(super) path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Setup {
    pub(super) async fn new() -> Self {
        Self::with(Duration::from_secs(60)).await
    }

    /// A server that closes a connection whose client reads nothing for `write_timeout`.
    pub(super) async fn with(write_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let node = Node::builder().identity(Identity::generate()).start().await.unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let admin = Arc::new(TestAdmin::new(&node, HashMap::new(), owner));
        let mut server = Server::bind(&path, Access::Owner).unwrap();
        server.admission.write_timeout = write_timeout;
        let server = Arc::new(server);
        let serving = server.clone();
        let (serving_node, serving_keeper) = (node.clone(), admin.clone());
        drop(rt::spawn(async move { serving.serve(serving_node, serving_keeper).await }));
        Setup { node, admin, server, path, _folder: folder }
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(&self.path).await.unwrap()
    }

    /// Sends messages from the node to itself, in this order.
    pub(super) async fn messages(&self, bodies: &[&str]) {
        for body in bodies {
            self.node.submit(Outgoing::new(self.node.address(), *body)).await.unwrap();
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.server.shut();
    }
}

/// A connection that sends any frames, or other bytes.
pub(super) struct RawClient(pub(super) UnixStream);

impl RawClient {
    /// Connects, and exchanges the greetings and the welcome.
    pub(super) fn connect(setup: &Setup) -> Self {
        let mut raw = RawClient(UnixStream::connect(&setup.path).unwrap());
        raw.0.write_all(&encode_greeting(VERSION, GreetingCode::Ok)).unwrap();
        assert_eq!(raw.read(GREETING_LENGTH), encode_greeting(VERSION, GreetingCode::Ok));
        assert!(matches!(raw.next(), Some(DaemonFrame::Welcome { .. })));
        raw
    }

    fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(super) fn write(&mut self, content: &[u8]) {
        let mut bytes = u32::try_from(content.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(content);
        self.0.write_all(&bytes).unwrap();
    }

    pub(super) fn send(&mut self, frame: &ClientFrame) {
        self.write(&codec::encode(frame).unwrap());
    }

    pub(super) fn call(&mut self, id: u64, call: Call) {
        self.send(&ClientFrame::Call { id, call });
    }

    /// The next frame; `None` when the daemon has closed the connection.
    pub(super) fn next(&mut self) -> Option<DaemonFrame> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => Some(codec::decode(&self.read(u32::from_le_bytes(length) as usize)).unwrap()),
            Err(_) => None,
        }
    }

    /// Fetches messages without confirming them; returns their tickets and bodies.
    pub(super) fn fetch(&mut self, id: u64, limit: u32) -> Vec<(u64, String)> {
        self.call(id, Call::Receive { to: None, service: Default::default(), from: None, limit });
        match self.next() {
            Some(DaemonFrame::Reply { reply: Reply::Messages(fetched), .. }) => fetched
                .into_iter()
                .map(|fetched| (fetched.ticket, String::from_utf8_lossy(&fetched.message.body).into_owned()))
                .collect(),
            other => panic!("no messages but {other:?}"),
        }
    }
}
