//! Sending trains: whole where the kernel cuts them into frames itself (GSO), frame by frame elsewhere.

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

/// The most bytes that one call may give to the kernel: an IPv4 packet's 65 535 less its headers of 20 and 8.
pub(crate) const MAX_BURST: usize = 65_535 - 20 - 8;

/// How long to wait, and how often, when the kernel is out of buffers (ENOBUFS), which no event announces the end of.
const NO_BUFFERS_PAUSE: Duration = Duration::from_millis(1);
const NO_BUFFERS_TRIES: u32 = 5;

/// Sends a train from `source`, if the host still has that address; waits while the socket has no room.
pub(crate) async fn send(
    sockets: &Sockets,
    socket: &Socket,
    destination: SocketAddr,
    source: Option<IpAddr>,
    train: Train<'_>,
) -> Result<(), NetmodError> {
    let mut src_ip = source.filter(|source| !socket.refused.contains(*source));
    let wished = src_ip;
    let mut cut = Cut { rest: train.bytes, size: train.size.max(1) };
    let mut pauses = 0;
    loop {
        let transmit = |contents: &[u8], segment_size: Option<usize>| {
            socket.try_send(&Transmit { destination, ecn: None, contents, segment_size, src_ip })
        };
        let sent = cut.run(|| socket.segments(), transmit);
        // The kernel's own choice was no better, unless this went out.
        if let (Some(wished), None, Ok(())) = (wished, src_ip, &sent) {
            socket.refused.insert(wished);
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
            Err(error) => return Err(error::of_send(error, || socket.is_homeless())),
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

/// What is left of a train, and where to cut it.
struct Cut<'a> {
    rest: &'a [u8],
    size: usize,
}

impl Cut<'_> {
    /// Gives the rest to the kernel in pieces as large as it takes; `segments` says how many frames that is now.
    /// After an error the rest is what did not go.
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
                // A driver that cannot cut trains says so only now. The same error may mean the frame itself, which
                // shows when it goes alone.
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

    /// What the kernel was given: lengths and segment sizes.
    type Calls = Vec<(usize, Option<usize>)>;

    fn run(bytes: usize, size: usize, segments: usize, refuses: bool) -> (io::Result<()>, Calls) {
        let mut calls = Calls::new();
        let bytes = vec![0; bytes];
        let mut cut = Cut { rest: &bytes, size };
        let result = cut.run(
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
    fn a_train_goes_whole_and_a_lone_frame_without_a_segment_size() {
        assert_eq!(run(3500, 1000, 64, false).1, [(3500, Some(1000))]);
        assert_eq!(run(900, 1000, 64, false).1, [(900, None)]);
        assert_eq!(run(1000, 1000, 64, false).1, [(1000, None)]);
        assert_eq!(run(0, 1000, 64, false).1, []);
    }

    #[test]
    fn a_train_longer_than_the_kernel_takes_goes_in_pieces_of_whole_frames() {
        assert_eq!(run(3500, 1000, 2, false).1, [(2000, Some(1000)), (1500, Some(1000))]);
        assert_eq!(run(70_000, 1000, 64, false).1, [(64_000, Some(1000)), (6000, Some(1000))]);
        assert_eq!(run(70_000, 1200, 64, false).1, [(64_800, Some(1200)), (5200, Some(1200))]);
        assert_eq!(run(2500, 1000, 1, false).1, [(1000, None), (1000, None), (500, None)]);
    }

    #[test]
    fn a_train_that_the_driver_cannot_cut_goes_frame_by_frame() {
        let (result, calls) = run(2500, 1000, 64, true);
        assert!(result.is_ok());
        assert_eq!(calls, [(1000, None), (1000, None), (500, None)]);
    }

    #[test]
    fn what_went_before_a_full_buffer_does_not_go_twice() {
        let bytes: Vec<u8> = (0..30).collect();
        let mut cut = Cut { rest: &bytes, size: 10 };
        let mut room = 1;
        let error = cut.run(
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
        assert_eq!(cut.rest, &bytes[10..]);
    }

    #[test]
    fn a_frame_that_is_refused_alone_is_an_error() {
        let mut cut = Cut { rest: &[0; 5], size: 5 };
        assert_eq!(cut.run(|| 64, |_, _| Err(Errno::INVAL.into())).unwrap_err().raw_os_error(), Some(22));
    }
}
