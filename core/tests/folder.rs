//! A node that keeps everything in a folder.

mod common;

use futures::executor::block_on;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Node, OpenError};

use common::{node, within};

#[test]
fn a_node_that_is_opened_again_has_its_address_and_delivers_what_waited() {
    block_on(async {
        let home = tempfile::tempdir().unwrap();
        let (net, folder) = (MemNet::new(1), home.path().join("state").join("node"));
        let recipient = node(2);
        let to = rouse_core::Identity::from_seed(&[2; 32]).address();

        let first = Node::open(&folder).await.unwrap().netmod(net.netmod("a")).start().await.unwrap();
        let address = first.address();
        first.send(&to, "before the restart").await.unwrap();
        within(first.stop()).await;
        drop(first);

        let second = Node::open(&folder).await.unwrap().netmod(net.netmod("a")).start().await.unwrap();
        assert_eq!(second.address(), address);
        let recipient = recipient.netmod(net.netmod("b")).start().await.unwrap();
        assert_eq!(recipient.address(), to);
        let message = within(recipient.recv()).await.unwrap();
        assert_eq!((message.from, &*message.body), (address, b"before the restart".as_slice()));
    });
}

#[test]
fn a_folder_has_one_node_at_a_time() {
    block_on(async {
        let home = tempfile::tempdir().unwrap();
        let builder = Node::open(home.path()).await.unwrap();
        let used = |error| matches!(error, Some(OpenError::InUse(path)) if path == home.path());
        assert!(used(Node::open(home.path()).await.err()), "a builder uses it");
        let node = builder.start().await.unwrap();
        assert!(used(Node::open(home.path()).await.err()), "a node uses it");
        within(node.stop()).await;
        drop(node);
        assert!(Node::open(home.path()).await.is_ok());
    });
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_that_names_it() {
    block_on(async {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let error = Node::open(&file).await.err().unwrap().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");

        let folder = home.path().join("node");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("identity"), "no key").unwrap();
        let error = Node::open(&folder).await.err().unwrap().to_string();
        assert!(error.contains(folder.join("identity").to_str().unwrap()), "{error}");
    });
}
