//! Tests of the cost of invented senders, and of the locks that are free when a waker runs.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::memory_budget::tests::{Sender, address, session, shared, shared_with, work_of};
use super::*;
use crate::identity::Identity;
use crate::node::Limits;
use crate::node::state::conversation::DeliveryState;
use crate::node::state::router_inputs::RouterHint;
use crate::session::Standing;
use crate::types::Ends;
use crate::types::{Attributes, Message, MessageId, Outgoing, Service, Timestamp};
use crate::wire::message as wire;

fn local() -> Address {
    Identity::from_seed(&[1; 32]).address()
}

/// A waker that counts its calls, and each time checks that the locks of the conversation and those before it are free.
struct Free {
    shared: Arc<NodeState>,
    peer: Address,
    /// The wakes that found every lock free.
    woken: AtomicUsize,
}

impl Wake for Free {
    fn wake(self: Arc<Self>) {
        let conversations = &self.shared.conversations;
        let all = conversations.by_ends.try_write().expect("no conversation is looked up");
        if let Some(entry) = all.get(&Ends { peer: self.peer, local: local() }) {
            assert!(entry.state.try_lock().is_ok(), "the conversation is free");
        }
        assert!(self.shared.mailboxes.try_write().is_ok(), "the mailboxes are free");
        assert!(self.shared.event_bus.is_free(), "the event_bus is free");
        self.woken.fetch_add(1, SeqCst);
    }
}

#[test]
fn wakers_find_every_lock_free() {
    let shared = Arc::new(shared());
    let mut sender = Sender::new(1, local());
    let free = Arc::new(Free { shared: shared.clone(), peer: sender.address(), woken: AtomicUsize::new(0) });
    let waker = Waker::from(free.clone());
    let mut cx = Context::from_waker(&waker);
    let woken = |times: usize| assert!(free.woken.swap(0, SeqCst) >= times, "it is woken");
    let mailbox = read(&shared.mailboxes).get(&local()).cloned().unwrap();
    let mut events = shared.event_bus.subscribe();
    let mut work = work_of(1);

    // A message arrives.
    let (mut any, mut from) = (Box::pin(mailbox.recv()), Box::pin(mailbox.recv_from(&free.peer)));
    assert!(any.poll_unpin(&mut cx).is_pending() && from.poll_unpin(&mut cx).is_pending());
    assert!(events.poll_next_unpin(&mut cx).is_pending());
    sender.begin(100);
    sender.flood(&shared, local(), 1);
    woken(3);
    assert!(matches!(events.poll_next_unpin(&mut cx), Poll::Ready(Some(_))));

    // A message of this node is delivered, and one expires.
    let entry = shared.conversations.open(&shared, &local(), &free.peer).unwrap();
    let outgoing = |ttl_ms| Outgoing { ttl_ms, ..Outgoing::new(free.peer, "to be delivered") };
    let expires = entry.try_queue(&shared, &outgoing(0)).expect("there is room");
    let DeliveryState::Pending(mut fate) = entry.delivery_state(expires) else {
        panic!("it is neither here nor there")
    };
    assert!(fate.poll_unpin(&mut cx).is_pending());
    assert!(events.poll_next_unpin(&mut cx).is_pending());
    lock(&entry.state).conversation.handle_timeout(shared.now());
    entry.pump(&shared, &mut work);
    woken(2);

    // The node ends.
    let kept = entry.try_queue(&shared, &outgoing(10_000)).expect("there is room");
    let DeliveryState::Pending(mut fate) = entry.delivery_state(kept) else {
        panic!("it is neither here nor there")
    };
    let (seen, mut rest) = (entry.room_count(), mailbox.messages());
    let mut room = Box::pin(entry.room_after(seen));
    assert!(fate.poll_unpin(&mut cx).is_pending() && room.poll_unpin(&mut cx).is_pending());
    while rest.poll_next_unpin(&mut cx).is_ready() {}
    while events.poll_next_unpin(&mut cx).is_ready() {}
    shared.end();
    woken(4);
}

/// The first packet of an invented sender.
fn first_packet(number: u32, frames: impl FnOnce(&mut Vec<u8>)) -> (Address, Bytes) {
    let mut out = Vec::new();
    wire::write_header(&wire::MessageHeader { number: 0, open: 0, floor: 0 }, &mut out);
    frames(&mut out);
    (address(number), out.into())
}

/// Lets a packet of an invented sender arrive, which has begun a session.
fn arrives(shared: &NodeState, (source, packet): &(Address, Bytes), work: &mut DeferredWork) {
    let standing = Standing { incarnation: 77, ..Standing::default() };
    if let Some(proved) = session(shared, (&local(), source), 1, standing) {
        let pair = Ends { local: local(), peer: *source };
        shared.conversations.handle(shared, &pair, &proved, packet, work);
    }
    work.finish(shared);
}

fn message(above: u16, size: usize, out: &mut Vec<u8>) {
    let at = wire::write_messages(above, Timestamp(0), out);
    wire::write_entry(0, &vec![7; size], out);
    wire::patch_count(at, 1, out);
}

/// The bytes around a content: 36 of the packet header and 30 of a data frame. The 29 of its seal are received as well, but
/// pay for nothing here, so that the bound does not grow with the protection.
const AROUND: usize = 66;

/// A name, and the function that writes the frames.
type Form = (&'static str, fn(&mut Vec<u8>));

const FORMS: [Form; 10] = [
    ("a ping", |out| wire::write_ping(out)),
    ("a message", |out| message(0, 1, out)),
    ("messages without a body", |out| {
        let at = wire::write_messages(0, Timestamp(0), out);
        (0..270).for_each(|_| wire::write_entry(0, &[], out));
        wire::patch_count(at, 270, out);
    }),
    ("messages of distinct services", |out| {
        for nth in 0..12 {
            let service = Service::new(&format!("{nth:064}")).unwrap();
            wire::write_attributes(&Attributes { service, ..Attributes::default() }, out);
            message(nth, 1, out);
        }
    }),
    ("a message far above", |out| message(4095, 1, out)),
    ("messages apart", |out| (0..60).for_each(|nth| message(2 * nth + 1, 1, out))),
    ("skips apart", |out| {
        for nth in 0..60 {
            let at = wire::write_skip(2 * nth + 1, out);
            wire::patch_count(at, 1, out);
        }
    }),
    ("pieces of a message", |out| {
        (0..50).for_each(|nth| {
            wire::write_fragment(
                &wire::FragmentHead { above: 1, sent_at: Timestamp(0), total: 9000, offset: 2 + 2 * nth },
                &[1],
                out,
            )
        });
    }),
    ("pieces of many messages", |out| {
        (0..50).for_each(|nth| {
            wire::write_fragment(
                &wire::FragmentHead { above: nth + 1, sent_at: Timestamp(0), total: 9000, offset: 2 },
                &[1],
                out,
            )
        });
    }),
    ("the most of a packet", |out| message(1, 1200, out)),
];

fn alone(name: &str, test: impl FnOnce()) {
    alone_in(&format!("tests::{name}"), test);
}

/// The same for a test of a module of conversations, by its path among those.
pub(super) fn alone_in(path: &str, test: impl FnOnce()) {
    crate::run_alone(&format!("node::conversations::{path}"), test);
}

/// The memory of a conversation in bytes, by section 10 of the specification.
const CONVERSATION: usize = 1536;

#[test]
fn requests_for_sessions_that_are_never_confirmed_hold_no_memory_for_long() {
    alone("requests_for_sessions_that_are_never_confirmed_hold_no_memory_for_long", || {
        let shared = shared();
        let peers: Vec<_> = (0..1000).map(address).collect();
        (0..2000).for_each(|_| shared.router.hint(RouterHint::Want { destination: local() }));
        let before = crate::allocated();
        for peer in &peers {
            assert!(session(&shared, (&local(), peer), 1, Standing::default()).is_some());
        }
        let held = crate::allocated().saturating_sub(before);
        assert!(held < CONVERSATION * peers.len(), "{held} bytes are held");
        shared.conversations.sweep_at(&shared, shared.now() + Duration::from_secs(35));
        let left = crate::allocated().saturating_sub(before);
        assert!(left < 32 << 10, "{left} of {held} bytes are kept");
        assert!(read(&shared.conversations.by_ends).is_empty());
    });
}

/// The packets of so many invented senders from `first` on.
fn packets(first: u32, count: u32, frames: fn(&mut Vec<u8>)) -> Vec<(Address, Bytes)> {
    (first..first + count).map(|number| first_packet(number, frames)).collect()
}

#[test]
fn no_byte_of_an_invented_sender_holds_more_than_its_share_and_all_is_given_back() {
    let name = "no_byte_of_an_invented_sender_holds_more_than_its_share_and_all_is_given_back";
    alone(name, || {
        const SENDERS: u32 = 1000;
        // Half of the place of a conversation is for what one has beside its messages. It needs at least a fourth, since a
        // larger place would be an allowance for something else.
        let [least, most] = [CONVERSATION / 4, CONVERSATION / 2].map(|bytes| bytes * SENDERS as usize);
        let mut dear = Vec::new();
        for (name, frames) in FORMS {
            let shared = shared_with(Limits { senders: SENDERS as usize, ..Limits::default() });
            let (arriving, later) =
                (packets(0, SENDERS, frames), packets(SENDERS, SENDERS, wire::write_ping));
            let bytes: usize = arriving.iter().map(|(_, packet)| packet.len() + AROUND).sum();
            // There is no router, so its hints accumulate up to their bound before the measurement.
            (0..2000).for_each(|_| shared.router.hint(RouterHint::Want { destination: local() }));
            let (before, mut work) = (crate::allocated(), work_of(1));
            let held = || crate::allocated().saturating_sub(before);
            arriving.iter().for_each(|packet| arrives(&shared, packet, &mut work));
            drop(std::mem::replace(&mut work, work_of(1)));
            let first = held();
            println!("{name}: {:.1} bytes held for each of {bytes}", first as f64 / bytes as f64);
            if first < least || first > most + 8 * bytes {
                dear.push((name, first as f64 / bytes as f64));
            }
            // Parts of messages are dropped. Conversations that had a session stay until others need their places, and with
            // them the messages that are complete.
            shared.conversations.sweep_at(&shared, shared.now() + Duration::from_secs(55));
            let swept = held();
            later.iter().for_each(|packet| arrives(&shared, packet, &mut work));
            drop(work);
            assert_eq!(read(&shared.conversations.by_ends).len(), SENDERS as usize, "{name}");
            shared.conversations.sweep_at(&shared, shared.now() + Duration::from_secs(55));
            let left = held();
            println!("{name}: {swept} after the sweep, {left} once others have the places");
            assert!((least..most + (32 << 10)).contains(&left), "{name}: {left} of {first} bytes are kept");
        }
        assert!(dear.is_empty(), "{dear:?}");
    });
}

#[test]
fn a_conversation_removed_for_others_holds_no_memory() {
    alone("a_conversation_removed_for_others_holds_no_memory", || {
        let (shared, bound) = (shared(), Limits::default().reassembly);
        let before = crate::allocated();
        for number in 0..12_000 {
            let mut sender = Sender::new(number, local());
            sender.begin(1 << 20);
            sender.flood(&shared, local(), 1);
        }
        let (held, dropped) =
            (crate::allocated().saturating_sub(before), shared.stats.drops()["reassembly_limit"]);
        assert!(dropped > 4_000, "{dropped} made room");
        assert!(held < bound, "{held} bytes are held, with a bound of {bound}");
    });
}

fn from(peer: Address, number: u128, body: &Bytes) -> Message {
    Message {
        id: MessageId(number.to_be_bytes()),
        from: peer,
        to: local(),
        sent_at: Timestamp(0),
        received_at: Timestamp(0),
        protection: crate::types::Protection::EndToEnd,
        service: Default::default(),
        in_reply_to: None,
        kind: Default::default(),
        deliveries: 1,
        body: body.clone().into(),
    }
}

#[test]
fn messages_stay_in_order_however_little_a_mailbox_takes_at_once() {
    let (shared, peer) = (shared(), address(1));
    let entry = shared.conversations.open(&shared, &local(), &peer).unwrap();
    let mailbox = read(&shared.mailboxes).get(&local()).cloned().unwrap();
    // An inbox holds three of them. All senders together may have more, so that more are tried at once, but not all.
    let body = Bytes::from(vec![7; 10 << 20]);
    lock(&entry.state).held.extend((0..20).map(|number| from(peer, number, &body)));
    let mut got = Vec::new();
    while got.len() < 20 {
        entry.deliver(&shared);
        let message = mailbox.recv_from(&peer).now_or_never().expect("one is there").unwrap();
        got.push(u128::from_be_bytes(message.id.0));
    }
    assert!(got.is_sorted(), "{got:?}");
}

#[test]
fn a_message_that_an_inbox_refuses_is_delivered_once_something_is_taken() {
    let (shared, peer) = (shared(), address(1));
    let entry = shared.conversations.open(&shared, &local(), &peer).unwrap();
    let mailbox = read(&shared.mailboxes).get(&local()).cloned().unwrap();
    let body = Bytes::from(vec![7; 15 << 20]);
    lock(&entry.state).held.extend((0..4).map(|number| from(peer, number, &body)));
    // Two fit. Another attempt with the third has no effect, and ends.
    (0..3).for_each(|_| entry.deliver(&shared));
    assert_eq!(lock(&entry.state).held.len(), 2);
    assert!(shared.conversations.mailbox_changes.read().is_empty());
    mailbox.recv_from(&peer).now_or_never().expect("one is there").unwrap();
    assert!(
        shared.conversations.mailbox_changes.read().contains(&Ends { peer, local: local() }),
        "it is noted that there is room"
    );
    entry.deliver(&shared);
    assert_eq!(lock(&entry.state).held.len(), 1);
}

/// A waker that panics once.
#[derive(Default)]
struct Fault(AtomicUsize);

impl Wake for Fault {
    fn wake(self: Arc<Self>) {
        assert!(self.0.fetch_add(1, SeqCst) > 0, "a fault of the application");
    }
}

#[test]
fn a_panic_of_a_woken_application_loses_no_message() {
    for waits_for in ["its inbox", "the mailbox", "events"] {
        let shared = shared();
        let mut sender = Sender::new(1, local());
        let (peer, fault) = (sender.address(), Arc::new(Fault::default()));
        let waker = Waker::from(fault.clone());
        let mut cx = Context::from_waker(&waker);
        let mailbox = read(&shared.mailboxes).get(&local()).cloned().unwrap();
        let mut events = shared.event_bus.subscribe();
        let (mut any, mut one) = (Box::pin(mailbox.recv()), Box::pin(mailbox.recv_from(&peer)));
        match waits_for {
            "its inbox" => assert!(one.poll_unpin(&mut cx).is_pending()),
            "the mailbox" => assert!(any.poll_unpin(&mut cx).is_pending()),
            _ => assert!(events.poll_next_unpin(&mut cx).is_pending()),
        }
        sender.begin(100);
        sender.flood(&shared, local(), 1);
        assert!(fault.0.load(SeqCst) > 0, "{waits_for}: it was woken");
        drop((any, one));
        sender.begin(100);
        sender.flood(&shared, local(), 1);
        for nth in 1..=2 {
            assert!(mailbox.recv().now_or_never().is_some(), "{waits_for}: message {nth} is there");
        }
    }
}

/// A function that puts a message into a mailbox, and its name.
type WayIn = (&'static str, fn(&crate::node::Mailbox, Message));

#[test]
fn a_panic_of_an_application_loses_no_message_on_any_way_into_the_mailbox() {
    let ways: [WayIn; 4] = [
        ("at once", |mailbox, message| _ = mailbox.push(message)),
        ("after a wait", |mailbox, message| _ = mailbox.push_wait(message).now_or_never()),
        ("in a batch", |mailbox, message| {
            mailbox.delivery(&message.from.clone()).push_batch(&mut vec![message])
        }),
        ("given back", |mailbox, message| mailbox.unrecv(message)),
    ];
    for (way, push) in ways {
        let (shared, peer, body) = (shared(), address(1), Bytes::from(vec![7; 1 << 20]));
        let mailbox = read(&shared.mailboxes).get(&local()).cloned().unwrap();
        let fault = Arc::new(Fault::default());
        let waker = Waker::from(fault.clone());
        let mut one = Box::pin(mailbox.recv_from(&peer));
        assert!(one.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        push(&mailbox, from(peer, 1, &body));
        assert!(fault.0.load(SeqCst) > 0, "{way}: it was woken");
        drop(one);
        assert!(mailbox.recv().now_or_never().is_some(), "{way}: the message is there");
        assert!(mailbox.is_empty_from(&peer), "{way}");
    }
}

#[test]
fn invented_senders_of_messages_that_are_never_read_keep_no_other_out() {
    let shared = shared();
    let limit = u32::try_from(Limits::default().senders).unwrap();
    let mut work = work_of(1);
    for number in 0..limit + 500 {
        arrives(&shared, &first_packet(number, |out| message(0, 1, out)), &mut work);
    }
    assert_eq!(shared.stats.drops()["sender_limit"], 0);
    let mailbox = read(&shared.mailboxes).get(&local()).cloned().unwrap();
    assert!(mailbox.recv_from(&address(limit + 499)).now_or_never().is_some(), "the last is heard");
}
