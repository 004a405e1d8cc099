//! Transmission of trains: whole where the kernel segments them into frames (GSO), frame by frame elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use quinn_udp::Transmit;
use rouse_core::netmod::{NetmodError, Train};
use rustix::io::Errno;

use crate::error;
use crate::socket::{Closed, Socket, Sockets};

/// The most bytes of one system call: the 65 535 of an IPv4 packet less headers of 20 and 8.
pub(crate) const MAX_BURST: usize = 65_535 - 20 - 8;

/// The pause before another attempt when the kernel is out of buffers (ENOBUFS), and the number of attempts. A timer is
/// needed because no event reports that buffers are free again.
const NO_BUFFERS_PAUSE: Duration = Duration::from_millis(1);
const NO_BUFFERS_TRIES: u32 = 5;

/// Sends a train from the address `source`, if the host still has it. It waits while the socket has no room.
pub(crate) async fn send(
    sockets: &Sockets,
    socket: &Socket,
    destination: SocketAddr,
    source: Option<IpAddr>,
    train: Train<'_>,
) -> Result<(), NetmodError> {
    let mut src_ip = source.filter(|source| !socket.refused.contains(*source));
    let preferred = src_ip;
    let mut unsent = UnsentTrain { rest: train.bytes, size: train.size.max(1) };
    let mut pauses = 0;
    loop {
        let transmit = |contents: &[u8], segment_size: Option<usize>| {
            socket.try_send(&Transmit { destination, ecn: None, contents, segment_size, src_ip })
        };
        let sent = unsent.run(|| socket.segments(), transmit);
        // The preferred address is at fault only if the frame could be sent from the kernel's own choice.
        if let (Some(preferred), None, Ok(())) = (preferred, src_ip, &sent) {
            socket.refused.insert(preferred);
        }
        match sent {
            Ok(()) => return Ok(()),
            Err(error) if src_ip.is_some() && error::may_be_of_source(&error) => {
                src_ip = None;
                socket.forget_error();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                until_closed(sockets.closed(), socket.io.writable()).await?.map_err(NetmodError::Gone)?;
            }
            Err(error)
                if Errno::from_io_error(&error) == Some(Errno::NOBUFS) && pauses < NO_BUFFERS_TRIES =>
            {
                pauses += 1;
                until_closed(sockets.closed(), Timer::after(NO_BUFFERS_PAUSE)).await?;
            }
            Err(error) => return Err(error::of_send(error, || socket.has_lost_address())),
        }
    }
}

/// Waits for `future`, unless the sockets are closed first.
async fn until_closed<F: Future + Unpin>(closed: Closed, future: F) -> Result<F::Output, NetmodError> {
    match select(closed, future).await {
        Either::Left(_) => Err(error::closed()),
        Either::Right((output, _)) => Ok(output),
    }
}

/// The part of a train that is not yet sent, and the size of its frames.
struct UnsentTrain<'a> {
    rest: &'a [u8],
    size: usize,
}

impl UnsentTrain<'_> {
    /// Hands the rest to the kernel in pieces as large as it accepts; `segments` is the number of frames that it
    /// accepts now. After an error the rest is the part that was not sent.
    fn run(
        &mut self,
        segments: impl Fn() -> usize,
        mut transmit: impl FnMut(&[u8], Option<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut whole = true;
        while !self.rest.is_empty() {
            let frames = if whole { segments().min(MAX_BURST / self.size).max(1) } else { 1 };
            let length = self.rest.len().min(frames.saturating_mul(self.size));
            let (piece, rest) = self.rest.split_at(length);
            let segment = (piece.len() > self.size).then_some(self.size);
            match transmit(piece, segment) {
                Ok(()) => self.rest = rest,
                // A driver that cannot segment trains reports that only now. The same error may be about the frame
                // itself, which shows when the frame is sent alone.
                Err(error) if segment.is_some() && error::is_refused_offload(&error) => whole = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls to the kernel: lengths and segment sizes.
    type Calls = Vec<(usize, Option<usize>)>;

    fn run(bytes: usize, size: usize, segments: usize, refuses: bool) -> (io::Result<()>, Calls) {
        let mut calls = Calls::new();
        let bytes = vec![0; bytes];
        let mut unsent = UnsentTrain { rest: &bytes, size };
        let result = unsent.run(
            || segments,
            |piece, segment| {
                if refuses && segment.is_some() {
                    return Err(Errno::IO.into());
                }
                calls.push((piece.len(), segment));
                Ok(())
            },
        );
        (result, calls)
    }

    #[test]
    fn a_train_is_sent_whole_and_a_single_frame_without_a_segment_size() {
        assert_eq!(run(3500, 1000, 64, false).1, [(3500, Some(1000))]);
        assert_eq!(run(900, 1000, 64, false).1, [(900, None)]);
        assert_eq!(run(1000, 1000, 64, false).1, [(1000, None)]);
        assert_eq!(run(0, 1000, 64, false).1, []);
    }

    #[test]
    fn a_train_longer_than_the_kernel_accepts_is_sent_in_pieces_of_whole_frames() {
        assert_eq!(run(3500, 1000, 2, false).1, [(2000, Some(1000)), (1500, Some(1000))]);
        assert_eq!(run(70_000, 1000, 64, false).1, [(64_000, Some(1000)), (6000, Some(1000))]);
        assert_eq!(run(70_000, 1200, 64, false).1, [(64_800, Some(1200)), (5200, Some(1200))]);
        assert_eq!(run(2500, 1000, 1, false).1, [(1000, None), (1000, None), (500, None)]);
    }

    #[test]
    fn a_train_that_the_driver_cannot_segment_is_sent_frame_by_frame() {
        let (result, calls) = run(2500, 1000, 64, true);
        assert!(result.is_ok());
        assert_eq!(calls, [(1000, None), (1000, None), (500, None)]);
    }

    #[test]
    fn frames_that_were_sent_before_the_buffer_was_full_are_not_sent_twice() {
        let bytes: Vec<u8> = (0..30).collect();
        let mut unsent = UnsentTrain { rest: &bytes, size: 10 };
        let mut room = 1;
        let error = unsent.run(
            || 1,
            |_, _| {
                if room == 0 {
                    Err(Errno::AGAIN.into())
                } else {
                    room -= 1;
                    Ok(())
                }
            },
        );
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(unsent.rest, &bytes[10..]);
    }

    #[test]
    fn a_frame_that_is_refused_alone_is_an_error() {
        let mut unsent = UnsentTrain { rest: &[0; 5], size: 5 };
        assert_eq!(unsent.run(|| 64, |_, _| Err(Errno::INVAL.into())).unwrap_err().raw_os_error(), Some(22));
    }
}
