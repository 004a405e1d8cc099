use std::time::Duration;

use super::control_messages::{RawAnnounce, RawAttributes, RawRecord};
use super::*;

/// Two raw nodes that have shaken hands, the second answering.
fn joined(keys: [Option<[u8; 32]>; 2]) -> Option<[Box<RawLink>; 2]> {
    let [a, b] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
    let manners = |n: u8| Manners { mesh_key: keys[usize::from(n)], seed: [n; 32], instance: None };
    let now = Time::from_millis(5);
    let mut sides = [Shaking::dial(now, &a, manners(0)), Shaking::answer(&b, manners(1))];
    let mut links = [None, None];
    for _ in 0..4 {
        for side in 0..2 {
            while let Some(shaken) = sides[side].poll(now) {
                match shaken {
                    Shaken::Send(frame) => drop(sides[1 - side].receive(now, &frame)),
                    Shaken::Link(link) => links[side] = Some(link),
                    Shaken::Failed(_) => return None,
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
fn what_a_raw_link_says_arrives_word_by_word() {
    let [mut a, mut b] = joined([None; 2]).expect("both are honest so far");
    assert_eq!(b.peer(), Identity::from_seed(&[1; 32]).address());
    let announce = RawAnnounce::new(&Identity::from_seed(&[7; 32]), 9, 60, [3; 16]);
    let attributes = RawAttributes { idx: 4, metric: 1, hops: 63, mtu: 0, remaining: 65_535, chain: [5; 16] };
    let words = [
        RawRecord::Announce(announce.clone(), attributes),
        RawRecord::Want(2),
        RawRecord::Update(4, 0, 0, Some([1; 16])),
        RawRecord::SeqnoRequest(announce.dst, u64::MAX, 255, 1),
        RawRecord::YourHighest(announce),
    ];
    let message: Vec<u8> = words.iter().flat_map(RawRecord::bytes).collect();
    assert!(a.say(&message));
    let frame = a.seal(&frames::packet(&b.peer(), 0, 3, b"anything"));
    let now = Time::from_millis(7);
    b.receive(now, &frame).unwrap();
    let mut said = Vec::new();
    while let Some(happened) = a.poll(now) {
        if let Happened::Send(frame) = happened {
            b.receive(now, &frame).unwrap();
        }
    }
    while let Some(happened) = b.poll(now) {
        said.push(happened);
    }
    assert!(said.iter().any(|one| matches!(one, Happened::Said(bytes) if RawRecord::read(bytes) == words)));
    assert!(said.iter().any(|one| matches!(one, Happened::Packet(bytes) if bytes.ends_with(b"anything"))));
}

#[test]
fn without_the_mesh_key_there_is_no_raw_link() {
    assert!(joined([Some([1; 32]); 2]).is_some());
    assert!(joined([Some([2; 32]), Some([1; 32])]).is_none());
    assert!(joined([None, Some([1; 32])]).is_none());
}

#[test]
fn an_opening_out_of_nothing_is_answered_and_a_dialler_gives_up_in_time() {
    let now = Time::from_millis(5);
    let mut node = Shaking::answer(&Identity::from_seed(&[1; 32]), Manners::default());
    let opening = frames::Opening::new(77, [9; 32]).bytes();
    node.receive(now, &opening).unwrap();
    let Some(Shaken::Send(response)) = node.poll(now) else { panic!("nobody can tell it from a true one") };
    assert!(response.len() <= opening.len());
    let mut dialler = Shaking::dial(now, &Identity::from_seed(&[2; 32]), Manners::default());
    let mut later = now;
    let failed = (0..1000).any(|_| {
        later = later + Duration::from_millis(100);
        matches!(dialler.poll(later), Some(Shaken::Failed(_)))
    });
    assert!(failed);
}
