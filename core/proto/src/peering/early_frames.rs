//! Frames that arrive before the finish of their handshake, because the network reorders packets.

use std::collections::HashMap;

use bytes::BytesMut;

use crate::link::Path;

/// Frames that may wait for the finish that they have overtaken: of all sessions, and of one. Any host can send such frames, so
/// both are bounded.
const MOST: usize = 256;
const OF_SESSION: usize = 8;

/// The receiver index of a frame, the path that it arrived on, and its bytes.
pub(super) type EarlyFrame = (u32, Path, BytesMut);

/// The decision about an early frame.
pub(super) enum EarlyFrameAction {
    /// Its session has started.
    Deliver,
    /// Its finish may still arrive.
    Wait,
    /// No session will start that it could belong to.
    Drop,
}

/// See the [module's page](self).
#[derive(Default)]
pub(super) struct EarlyFrames(Vec<EarlyFrame>);

impl EarlyFrames {
    pub(super) fn push(&mut self, frame: EarlyFrame) {
        self.0.push(frame);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the frames that are to be delivered now, in their order, and the count of dropped ones. The others wait as
    /// far as there is room.
    pub(super) fn sort(&mut self, action: impl Fn(u32, &Path) -> EarlyFrameAction) -> (Vec<EarlyFrame>, u64) {
        let (mut ready, mut dropped) = (Vec::new(), 0u64);
        let mut waiting: HashMap<u32, usize> = HashMap::new();
        for frame in std::mem::take(&mut self.0) {
            let of_session = waiting.entry(frame.0).or_default();
            match action(frame.0, &frame.1) {
                EarlyFrameAction::Deliver => ready.push(frame),
                EarlyFrameAction::Wait if *of_session < OF_SESSION && self.0.len() < MOST => {
                    *of_session = of_session.saturating_add(1);
                    self.0.push(frame);
                }
                EarlyFrameAction::Wait | EarlyFrameAction::Drop => dropped = dropped.saturating_add(1),
            }
        }
        (ready, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn frame(index: u32, n: u8) -> EarlyFrame {
        (index, Path { netmod: 0, endpoint: Endpoint::new(&[1]).unwrap() }, BytesMut::from(&[n][..]))
    }

    #[test]
    fn frames_that_overtook_their_finish_are_delivered_in_order_after_it() {
        let mut early = EarlyFrames::default();
        (0..5).for_each(|n| early.push(frame(7, n)));
        early.push(frame(8, 9));
        let action =
            |index, _: &Path| if index == 7 { EarlyFrameAction::Wait } else { EarlyFrameAction::Drop };
        let (ready, dropped) = early.sort(action);
        assert_eq!((ready.len(), dropped), (0, 1), "the other session awaits no finish");
        let (ready, dropped) = early.sort(|_, _| EarlyFrameAction::Deliver);
        assert_eq!(ready.iter().map(|(_, _, frame)| frame[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(dropped, 0);
    }

    #[test]
    fn waiting_frames_are_bounded_for_each_session_and_for_all() {
        let mut early = EarlyFrames::default();
        for index in 0..100 {
            (0..100).for_each(|n| early.push(frame(index, n)));
        }
        let (_, dropped) = early.sort(|_, _| EarlyFrameAction::Wait);
        assert_eq!(dropped, 10_000 - MOST as u64);
        let (ready, _) = early.sort(|_, _| EarlyFrameAction::Deliver);
        assert_eq!(ready.iter().filter(|(index, ..)| *index == 3).count(), OF_SESSION);
    }
}
