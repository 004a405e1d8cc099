//! The target `packet`: any packets of a neighbour to a whole node, with pings and traces.

use std::cell::RefCell;

use futures::FutureExt;
use rouse_core::{Identity, Node};
use rouse_proto::link::Suite;
use rouse_proto::wire::link::KIND_PACKET;
use rouse_proto::wire::packet::{HEADER, Header, Probe, read_header, set_hop_limit, write_header};

use crate::WiredNode;
use crate::fuzz::script::Script;

/// Step of a script: a packet of any bytes.
pub(crate) const PACKET: u8 = 0;
/// A packet with any payload for the node, any flags and any hop limit.
pub(crate) const PAYLOAD: u8 = 1;
/// The node's application receives all messages.
pub(crate) const FETCH: u8 = 2;
const STEPS: u8 = 3;

/// The number of inputs for which one node is used. Then another is started, so that its state does not grow without end.
const NODE_LIFE: u32 = 256;

thread_local! {
    static NODE: RefCell<Option<(WiredNode, u32)>> = const { RefCell::new(None) };
}

/// The identity of the node.
pub(crate) fn node_identity() -> Identity {
    Identity::from_seed(&[0x50; 32])
}

/// Runs packets of a neighbour through a node.
///
/// A header is read as it was written, bytes that are not a header are refused, and no packet makes the node panic or exceed its
/// bounds.
pub fn packet(data: &[u8]) {
    let used = NODE.take().filter(|(_, inputs)| *inputs < NODE_LIFE);
    let (mut node, inputs) = used.unwrap_or_else(|| {
        (WiredNode::start(Node::builder().identity(node_identity()).seed([5; 32]), 1, Suite::CHACHA), 0)
    });
    let mut script = Script::new(data);
    while let Some(step) = script.step() {
        match step % STEPS {
            PACKET => take(&mut node, script.bytes()),
            PAYLOAD => {
                let (class, flags, hop_limit) = (script.u8() & 0x0f, script.u8(), script.u8());
                let mut packet = vec![0, class, flags, hop_limit];
                packet.extend_from_slice(node.node().address().as_bytes());
                packet.extend_from_slice(script.bytes());
                take(&mut node, &packet);
            }
            _ => node.with(|node| while let Some(Ok(_)) = node.recv_batch(64).now_or_never() {}),
        }
    }
    node.exchange();
    while node.next_packet().is_some() {}
    assert!(node.is_whole(), "a task of the node has ended");
    NODE.set(Some((node, inputs + 1)));
}

fn take(node: &mut WiredNode, bytes: &[u8]) {
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
    // The kind of a packet: other kinds of plaintext concern the link, which the target `frame` covers.
    if bytes.first() == Some(&KIND_PACKET) {
        let frame = node.seal(0, bytes);
        node.arrive(0, frame.as_slice().into(), frame.len());
    }
}

fn reads_again(bytes: &[u8], header: Header) {
    let mut again = Vec::new();
    write_header(&mut again, header.class, header.flags, header.hop_limit, &header.destination);
    assert_eq!(read_header(&again), Some(header));
    assert_eq!(again[2..], bytes[2..HEADER]);
    set_hop_limit(&mut again, 3);
    assert_eq!(read_header(&again), Some(Header { hop_limit: 3, ..header }));
}
