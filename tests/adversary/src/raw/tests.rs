use std::time::Duration;

use super::control_messages::{RawAnnounce, RawAttributes, RawRecord};
use super::*;

/// The links of two raw nodes after a handshake, of which the second answered; `None` when it failed.
fn joined(keys: [Option<[u8; 32]>; 2]) -> Option<[Box<RawLink>; 2]> {
    let [a, b] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
    let options =
        |n: u8| RawOptions { mesh_key: keys[usize::from(n)], seed: [n; 32], ..RawOptions::default() };
    let now = Time::from_millis(5);
    let mut sides = [RawHandshake::dial(now, &a, options(0)), RawHandshake::answer(&b, options(1))];
    let mut links = [None, None];
    for _ in 0..4 {
        for side in 0..2 {
            while let Some(event) = sides[side].poll(now) {
                match event {
                    RawHandshakeEvent::Send(frame) => drop(sides[1 - side].receive(now, &frame)),
                    RawHandshakeEvent::Link(link) => links[side] = Some(link),
                    RawHandshakeEvent::Failed(_) => return None,
                }
            }
        }
    }
    match links {
        [Some(a), Some(b)] => Some([a, b]),
        _ => None,
    }
}

#[test]
fn records_and_packets_of_a_raw_link_arrive_unchanged() {
    let [mut a, mut b] = joined([None; 2]).expect("both handshakes are honest");
    assert_eq!(b.peer(), Identity::from_seed(&[1; 32]).address());
    let announce = RawAnnounce::new(&Identity::from_seed(&[7; 32]), 9, 60, [3; 16]);
    let attributes = RawAttributes { idx: 4, metric: 1, hops: 63, mtu: 0, remaining: 65_535, chain: [5; 16] };
    let records = [
        RawRecord::Announce(announce.clone(), attributes),
        RawRecord::Want(2),
        RawRecord::Update(4, 0, 0, Some([1; 16])),
        RawRecord::SeqnoRequest(announce.dst, u64::MAX, 255, 1),
        RawRecord::YourHighest(announce),
    ];
    let message: Vec<u8> = records.iter().flat_map(RawRecord::bytes).collect();
    assert!(a.send_control(&message));
    let frame = a.seal(&frames::packet(&b.peer(), 0, 3, b"anything"));
    let now = Time::from_millis(7);
    b.receive(now, &frame).unwrap();
    let mut events = Vec::new();
    while let Some(event) = a.poll(now) {
        if let RawLinkEvent::Send(frame) = event {
            b.receive(now, &frame).unwrap();
        }
    }
    while let Some(event) = b.poll(now) {
        events.push(event);
    }
    assert!(
        events
            .iter()
            .any(|one| matches!(one, RawLinkEvent::Control(bytes) if RawRecord::read(bytes) == records))
    );
    assert!(
        events.iter().any(|one| matches!(one, RawLinkEvent::Packet(bytes) if bytes.ends_with(b"anything")))
    );
}

#[test]
fn without_the_mesh_key_there_is_no_raw_link() {
    assert!(joined([Some([1; 32]); 2]).is_some());
    assert!(joined([Some([2; 32]), Some([1; 32])]).is_none());
    assert!(joined([None, Some([1; 32])]).is_none());
}

#[test]
fn a_forged_initiation_is_answered_and_a_dialler_gives_up_in_time() {
    let now = Time::from_millis(5);
    let mut node = RawHandshake::answer(&Identity::from_seed(&[1; 32]), RawOptions::default());
    let opening = frames::ForgedInitiation::new(77, [9; 32]).bytes();
    node.receive(now, &opening).unwrap();
    let Some(RawHandshakeEvent::Send(response)) = node.poll(now) else {
        panic!("the responder takes it for a true one")
    };
    assert!(response.len() <= opening.len());
    let mut dialler = RawHandshake::dial(now, &Identity::from_seed(&[2; 32]), RawOptions::default());
    let mut later = now;
    let failed = (0..1000).any(|_| {
        later = later + Duration::from_millis(100);
        matches!(dialler.poll(later), Some(RawHandshakeEvent::Failed(_)))
    });
    assert!(failed);
}
