//! Notifications of the kernel that an interface or its carrier has appeared or gone.
//!
//! `if-watch` reports addresses only, and an address stays when the cable is pulled. The content of a message is not
//! parsed, because the interfaces are listed again after any of them.

use std::io;
use std::task::{Context, Poll, ready};

use async_io::Async;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The netlink multicast group of messages on links (RTMGRP_LINK).
const LINKS: u32 = 1;

/// The most messages that one poll reads, so that a burst does not keep the task from its other work.
const MOST: usize = 64;

/// A netlink socket that receives the kernel's messages on links.
pub(crate) struct CarrierMonitor {
    io: Async<Socket>,
}

impl CarrierMonitor {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        Ok(CarrierMonitor { io: Async::new(socket)? })
    }

    /// Is ready when something has changed since the last call. After an error the monitor is to be dropped.
    pub(crate) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut changed = false;
        for _ in 0..MOST {
            // Longer messages are truncated, which does no harm since they are not parsed.
            let mut message = [0u8; 16];
            match self.io.get_ref().recv(&mut &mut message[..], 0) {
                Ok(_) => changed = true,
                // The receive buffer overflowed, so that messages were lost: something has changed.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    changed = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if changed {
                        return Poll::Ready(Ok(()));
                    }
                    ready!(self.io.poll_readable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }
}
