//! A neighbour that moves, and attackers that send copies of its frames.

use super::*;
use crate::wire::link::{ChallengeToken, KIND_RESPONSE};

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new(&[n]).unwrap()
}

impl Pair {
    /// A packet of node 1, sealed and not sent.
    fn packet_of_1(&mut self) -> Vec<u8> {
        let mut frame = Vec::new();
        self.sealers[1].seal(|out| out.extend_from_slice(&[KIND_PACKET; 200]), &mut frame).unwrap();
        frame
    }

    /// Delivers a frame to node 0 from an endpoint other than the known one of node 1.
    fn stray(&mut self, from: Endpoint, mut frame: Vec<u8>) -> Result<(), DropCause> {
        let result = self.links[0].handle_frame_from(self.now, from, &mut frame).map(|inner| {
            if matches!(inner, FrameContent::Packet(_)) {
                self.packets[0] += 1;
            }
        });
        self.poll(0);
        result
    }

    /// Delivers the challenge of node 0 to node 1 from the known endpoint of node 0, and returns the sealed response.
    fn response(&mut self) -> Vec<u8> {
        let (_, mut challenge) = self.elsewhere[0].pop().expect("a challenge");
        self.links[1].handle_frame(self.now, &mut challenge).unwrap();
        let Some(LinkOutput::Transmit(answer)) = self.links[1].poll_output(self.now) else {
            panic!("no answer")
        };
        let mut frame = Vec::new();
        self.sealers[1].seal(|out| out.extend_from_slice(&answer), &mut frame).unwrap();
        frame
    }
}

#[test]
fn a_neighbour_that_moved_is_followed_in_one_round_trip() {
    let mut pair = Pair::settled(1, ms(2));
    let frame = pair.packet_of_1();
    pair.stray(endpoint(7), frame).unwrap();
    assert_eq!(pair.packets[0], 1, "the content of the frame is not lost");
    assert_eq!(pair.moves[0], [], "the endpoint is not proved yet");
    assert_eq!(pair.elsewhere[0].iter().map(|(to, _)| *to).collect::<Vec<_>>(), [endpoint(7)]);
    let response = pair.response();
    pair.stray(endpoint(7), response).unwrap();
    assert_eq!(pair.moves[0], [endpoint(7)]);
    assert!(pair.elsewhere[0].is_empty(), "there is no second challenge");
    assert_eq!(pair.links[0].metrics().rtt, None, "the new path must be measured");
    pair.run(ms(100));
    assert_eq!(pair.links[0].metrics().rtt, Some(ms(4)));
    assert_eq!(pair.states, [[], []]);
}

#[test]
fn a_neighbour_that_moved_and_stays_silent_is_followed_although_challenges_are_lost() {
    for lost in 1..=2 {
        let mut pair = Pair::settled(1, ms(2));
        let begun = pair.now;
        let frame = pair.packet_of_1();
        pair.stray(endpoint(7), frame).unwrap();
        // The frames of the neighbour leave from its new endpoint, and it sends none by itself in this time.
        pair.wires[1].loss = 100;
        for _ in 0..lost {
            pair.elsewhere[0].pop().expect("a challenge");
            while pair.elsewhere[0].is_empty() && pair.now.since(begun) < ms(200) {
                pair.run(ms(1));
            }
        }
        assert!(pair.now.since(begun) <= ms(150), "{lost} lost: {:?}", pair.now.since(begun));
        let response = pair.response();
        pair.stray(endpoint(7), response).unwrap();
        assert_eq!(pair.moves[0], [endpoint(7)], "{lost} lost");
    }
}

#[test]
fn an_endpoint_that_does_not_respond_receives_three_challenges_for_a_frame() {
    let mut pair = Pair::settled(1, ms(2));
    let frame = pair.packet_of_1();
    let length = frame.len();
    pair.stray(endpoint(7), frame).unwrap();
    pair.wires[1].loss = 100;
    pair.run(Duration::from_secs(10));
    let sent: Vec<usize> = pair.elsewhere[0].iter().map(|(_, challenge)| challenge.len()).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|challenge| *challenge <= length));
}

#[test]
fn copies_of_frames_from_another_endpoint_do_not_move_the_link() {
    let mut pair = Pair::settled(2, ms(2));
    for _ in 0..50 {
        // The copy arrives before the original.
        let frame = pair.packet_of_1();
        let _ = pair.stray(endpoint(9), frame.clone());
        pair.deliver(0, frame.clone());
        // The copy arrives a second time.
        assert_eq!(pair.stray(endpoint(9), frame), Err(DropCause::Replay));
        pair.run(ms(20));
    }
    assert_eq!(pair.packets[0], 50, "the attack loses no packet");
    assert!(pair.elsewhere[0].len() <= 50);
    // To forward the challenge does not help, because it does not come from the known endpoint of node 0.
    let (_, mut challenge) = pair.elsewhere[0].pop().unwrap();
    let now = pair.now;
    let taken = pair.links[1].handle_frame_from(now, endpoint(9), &mut challenge);
    assert_eq!(taken, Err(DropCause::Stranger));
    pair.run(Duration::from_secs(5));
    assert_eq!((pair.moves.clone(), pair.states.clone()), (Default::default(), Default::default()));
}

#[test]
fn a_response_counts_only_from_the_challenged_endpoint() {
    let mut pair = Pair::settled(3, ms(2));
    let frame = pair.packet_of_1();
    pair.stray(endpoint(7), frame).unwrap();
    let response = pair.response();
    assert_eq!(pair.stray(endpoint(8), response), Err(DropCause::Stranger));
    let wrong = plaintext(KIND_RESPONSE, &ChallengeToken { token: 1 });
    let mut frame = Vec::new();
    pair.sealers[1].seal(|out| out.extend_from_slice(&wrong), &mut frame).unwrap();
    assert_eq!(pair.stray(endpoint(7), frame), Err(DropCause::Stranger));
    assert_eq!(pair.moves[0], []);
}

#[test]
fn a_newer_frame_from_the_known_endpoint_withdraws_the_challenge() {
    let mut pair = Pair::settled(4, ms(2));
    let frame = pair.packet_of_1();
    pair.stray(endpoint(7), frame).unwrap();
    let frame = pair.packet_of_1();
    pair.deliver(0, frame);
    // An attacker may obtain the response and be the first to deliver it.
    let response = pair.response();
    assert_eq!(pair.stray(endpoint(7), response), Err(DropCause::Stranger));
    assert_eq!(pair.moves[0], []);
}

#[test]
fn older_frames_from_the_known_endpoint_do_not_prevent_the_move() {
    let mut pair = Pair::settled(5, ms(2));
    let slow = pair.packet_of_1();
    let frame = pair.packet_of_1();
    pair.stray(endpoint(7), frame).unwrap();
    pair.deliver(0, slow);
    let response = pair.response();
    pair.stray(endpoint(7), response).unwrap();
    assert_eq!(pair.moves[0], [endpoint(7)]);
}

#[test]
fn an_old_frame_from_another_endpoint_is_handled_and_causes_no_challenge() {
    let mut pair = Pair::settled(6, ms(2));
    let old = pair.packet_of_1();
    let new = pair.packet_of_1();
    pair.deliver(0, new);
    pair.stray(endpoint(7), old).unwrap();
    assert_eq!((pair.packets[0], pair.elsewhere[0].len()), (2, 0));
}

#[test]
fn a_faster_attacker_does_not_prevent_the_challenge_of_the_neighbour() {
    let mut pair = Pair::settled(7, ms(2));
    for n in 0..3 {
        let frame = pair.packet_of_1();
        pair.stray(endpoint(20 + n), frame).unwrap();
    }
    let frame = pair.packet_of_1();
    pair.stray(endpoint(7), frame).unwrap();
    let response = pair.response();
    pair.stray(endpoint(7), response).unwrap();
    assert_eq!(pair.moves[0], [endpoint(7)]);
}

#[test]
fn an_endpoint_receives_no_more_bytes_than_came_from_it() {
    let mut pair = Pair::settled(8, ms(2));
    let mut shortest = Vec::new();
    pair.sealers[1].seal(|out| out.push(KIND_PACKET), &mut shortest).unwrap();
    let length = shortest.len();
    pair.stray(endpoint(7), shortest).unwrap();
    assert!(pair.elsewhere[0].is_empty(), "{length} bytes are too few");
    let mut sent = 0;
    for _ in 0..100 {
        let frame = pair.packet_of_1();
        sent += frame.len();
        pair.stray(endpoint(7), frame).unwrap();
    }
    let answered: usize = pair.elsewhere[0].iter().map(|(_, frame)| frame.len()).sum();
    assert!(answered <= sent / 100, "{answered} for {sent}");
}

#[test]
fn a_forged_frame_from_another_endpoint_is_dropped_as_any_other() {
    let mut pair = Pair::settled(9, ms(2));
    let mut frame = pair.packet_of_1();
    frame[20] ^= 1;
    assert_eq!(pair.stray(endpoint(7), frame), Err(DropCause::BadSeal));
    assert!(pair.elsewhere[0].is_empty());
}
