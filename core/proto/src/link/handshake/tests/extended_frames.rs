//! Frames with fields that this version does not know. Later versions add fields at the end, so they are skipped.

use super::*;
use crate::wire::link::{Cookie, Finish, KEY_LEN, Opening, Refusal, Response, frame};

const MORE: [u8; 9] = [0xee; 9];

/// A node of a later version, which sends longer frames.
struct NewerPeer {
    keys: StaticKeys,
    address: Address,
}

impl NewerPeer {
    fn new() -> Self {
        NewerPeer { keys: StaticKeys::new(&identity(1), None), address: identity(1).address() }
    }

    fn introduction(&self, index: u32) -> Vec<u8> {
        let introduction = Introduction {
            address: self.address,
            index,
            instance: 9,
            mtu: 1200,
            suites: Suite::CHACHA,
            capabilities: 0,
        };
        [codec::encode(&introduction).unwrap(), MORE.to_vec()].concat()
    }
}

fn dialler() -> (Handshakes, Vec<u8>) {
    let mut node = Handshakes::new(&identity(0), open(), [7; 32]);
    node.dial(Time::ZERO, path(1, 0), 1400);
    let initiation = transmitted(&mut node).expect("an initiation");
    (node, initiation)
}

fn transmitted(node: &mut Handshakes) -> Option<Vec<u8>> {
    let mut frames = std::iter::from_fn(|| node.poll_output()).filter_map(|output| match output {
        HandshakeOutput::Transmit { frame, .. } => Some(frame),
        _ => None,
    });
    frames.next()
}

fn receive(node: &mut Handshakes, frame: &[u8]) -> Result<(), DropCause> {
    node.handle(Time::from_millis(1), path(1, 0), Source::default(), 1400, frame)
}

#[test]
fn a_longer_response_begins_the_session() {
    let (mut node, initiation) = dialler();
    let later = NewerPeer::new();
    let mut noise = later.keys.responder(&[1; 32]).unwrap();
    noise.read(&initiation[Initiation::LEN..]).unwrap();
    let (head, _) = split::<Initiation>(&initiation).unwrap();
    let message = noise.write(&later.introduction(5)).unwrap();
    let response = Response { kind: RESPONSE, version: VERSION, sender: 5, receiver: head.sender };
    assert_eq!(receive(&mut node, &frame(&response, &message)), Ok(()));
    let finish = transmitted(&mut node).expect("a finish");
    assert!(noise.read(&finish[6..]).is_ok());
}

#[test]
fn a_longer_initiation_is_answered_and_a_longer_finish_begins_the_session() {
    let mut node = Handshakes::new(&identity(0), open(), [7; 32]);
    let later = NewerPeer::new();
    let mut noise = later.keys.initiator(&[1; 32]).unwrap();
    let mut opening = codec::encode(&Opening { instance: 9 }).unwrap();
    opening.resize(MAX_HANDSHAKE_LEN - Initiation::LEN - KEY_LEN, 0xee);
    let message = noise.write(&opening).unwrap();
    let head = Initiation { kind: INITIATION, version: VERSION, flags: 0xfe, sender: 5, cookie: [0; 16] };
    assert_eq!(receive(&mut node, &frame(&head, &message)), Ok(()));
    let response = transmitted(&mut node).expect("a response");
    let (head, message) = split::<Response>(&response).unwrap();
    noise.read(message).unwrap();
    let message = noise.write(&later.introduction(5)).unwrap();
    let head = Finish { kind: FINISH, version: VERSION, receiver: head.sender };
    assert_eq!(receive(&mut node, &frame(&head, &message)), Ok(()));
    let session = node.poll_output();
    assert!(matches!(session, Some(HandshakeOutput::Established(_))), "{session:?}");
}

#[test]
fn bytes_after_the_fields_of_a_cookie_or_a_refusal_are_skipped() {
    let echo = |initiation: &[u8]| *initiation[Initiation::LEN..].first_chunk().unwrap();
    let (mut node, initiation) = dialler();
    let (head, _) = split::<Initiation>(&initiation).unwrap();
    let (receiver, echo) = (head.sender, echo(&initiation));
    let cookie = Cookie { kind: COOKIE, version: VERSION, receiver, echo, cookie: [3; 16] };
    assert_eq!(receive(&mut node, &frame(&cookie, &MORE)), Ok(()));
    let again = transmitted(&mut node).expect("the initiation once more");
    assert_eq!(split::<Initiation>(&again).unwrap().0.cookie, [3; 16]);
    let refusal = Refusal { kind: REFUSAL, version: VERSION, receiver, echo, reason: 2 };
    assert_eq!(receive(&mut node, &frame(&refusal, &MORE)), Ok(()));
    for (kind, length) in [(RESPONSE, 10), (FINISH, 6), (COOKIE, 30), (REFUSAL, 15)] {
        let mut short = vec![0; length - 1];
        (short[0], short[1]) = (kind, VERSION);
        assert_eq!(receive(&mut node, &short), Err(DropCause::MalformedFrame), "{kind}");
    }
}
