//! The target `packet`: any packets of a neighbour to a whole node, with pings and traces.

use std::cell::RefCell;

use futures::FutureExt;

use crate::fixtures::script::Script;
use crate::identity::Identity;
use crate::node::Node;
use crate::wire::packet::{HEADER, Header, Probe, read_header, set_hop_limit, write_header};

/// Step of a script: a packet of any bytes.
pub(super) const PACKET: u8 = 0;
/// A packet with any payload for the node, any flags and any hop limit.
pub(super) const PAYLOAD: u8 = 1;
/// The node's application receives all messages.
pub(super) const FETCH: u8 = 2;
const STEPS: u8 = 3;

/// The number of inputs for which one node is used. Then another is started, so that its state does not grow without end.
const NODE_LIFE: u32 = 256;

thread_local! {
    static NODE: RefCell<Option<(Node, u32)>> = const { RefCell::new(None) };
}

/// The identity of the node.
pub(super) fn node_identity() -> Identity {
    Identity::from_seed(&[0x50; 32])
}

/// Runs packets through a node without neighbours, as if one had sent them.
///
/// A header is read as it was written, bytes that are not a header are refused, and no packet makes the node panic or exceed its
/// bounds.
pub fn packet(data: &[u8]) {
    let node = node();
    let mut script = Script::new(data);
    while let Some(step) = script.step() {
        match step % STEPS {
            PACKET => take(&node, script.bytes()),
            PAYLOAD => {
                let (class, flags, hop_limit) = (script.u8() & 0x0f, script.u8(), script.u8());
                let mut packet = vec![0, class, flags, hop_limit];
                packet.extend_from_slice(node.address().as_bytes());
                packet.extend_from_slice(script.bytes());
                take(&node, &packet);
            }
            _ => while let Some(Ok(_)) = node.recv_batch(64).now_or_never() {},
        }
    }
}

fn node() -> Node {
    NODE.with_borrow_mut(|slot| {
        let start = || {
            let node = Node::builder().identity(node_identity()).seed([5; 32]).start();
            (async_io::block_on(node).expect("a node without netmods starts"), 0)
        };
        if slot.as_ref().is_some_and(|(_, used)| *used >= NODE_LIFE) {
            *slot = None;
        }
        let (node, used) = slot.get_or_insert_with(start);
        *used += 1;
        node.clone()
    })
}

fn take(node: &Node, bytes: &[u8]) {
    match read_header(bytes) {
        Some(header) => {
            assert_eq!((bytes[0], bytes[1] >> 4), (0, 0), "another kind, or another version");
            reads_again(bytes, header);
        }
        None => assert!(bytes.len() < HEADER || bytes[0] != 0 || bytes[1] >> 4 != 0),
    }
    if let Some(probe) = Probe::read(bytes) {
        let mut again = Vec::new();
        probe.write(&mut again);
        assert_eq!(again, bytes);
    }
    node.take_packet(bytes);
}

fn reads_again(bytes: &[u8], header: Header) {
    let mut again = Vec::new();
    write_header(&mut again, header.class, header.flags, header.hop_limit, &header.destination);
    assert_eq!(read_header(&again), Some(header));
    assert_eq!(again[2..], bytes[2..HEADER]);
    set_hop_limit(&mut again, 3);
    assert_eq!(read_header(&again), Some(Header { hop_limit: 3, ..header }));
}
