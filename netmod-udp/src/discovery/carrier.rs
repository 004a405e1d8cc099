//! The kernel's word that an interface has come or gone, or its carrier. The watcher of addresses does not tell: addresses
//! stay when a plug is pulled. What has changed is not read out of the message: the interfaces are listed again.

use std::io;
use std::task::{Context, Poll, ready};

use async_io::Async;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The group of messages on links (RTMGRP_LINK).
const LINKS: u32 = 1;

/// How many messages are taken in one go; the rest is taken in the next.
const MOST: usize = 64;

/// Hears of carriers.
pub(crate) struct CarrierMonitor {
    io: Async<Socket>,
}

impl CarrierMonitor {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        Ok(CarrierMonitor { io: Async::new(socket)? })
    }

    /// Ready when something has changed since the last time. After an error it is of no more use.
    pub(crate) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut changed = false;
        for _ in 0..MOST {
            // What is longer is cut off: it is not read.
            let mut message = [0u8; 16];
            match self.io.get_ref().recv(&mut &mut message[..], 0) {
                Ok(_) => changed = true,
                // More has changed than there was room to tell.
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
