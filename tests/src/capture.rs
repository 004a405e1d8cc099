//! A capture of the wire: every frame that passes through a network namespace, as its kernel sees it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;

/// The interval in which the capturing thread checks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A capture under way.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Captures all frames of all interfaces of `namespace`, from here on.
    ///
    /// # Panics
    /// When the system does not allow it.
    pub fn start(namespace: &Namespace) -> Self {
        let path = format!("/run/netns/{}", namespace.name());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        // Only this thread enters the namespace; the rest of the process stays where it is.
        let thread = thread::spawn(move || {
            let place = File::open(path).expect("the namespace is there");
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
            let mut socket = listen().expect("we are root");
            ready.send(()).expect("the starter waits");
            let mut frames = Vec::new();
            // Longer than any frame, including trains that the kernel did not split.
            let mut buffer = vec![0; 1 << 17];
            while !stopped.load(Relaxed) {
                // An error is a time-out, or an interface that went down.
                if let Ok(length) = socket.read(&mut buffer) {
                    frames.push(buffer[..length].to_vec());
                }
            }
            frames
        });
        is_ready.recv().expect("the capture begins");
        Capture { stop, thread }
    }

    /// Ends the capture and returns the frames in their order. A forwarded frame occurs once for each interface.
    pub fn end(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the capture does not panic")
    }
}

fn listen() -> std::io::Result<Socket> {
    // ETH_P_ALL, in network order.
    let everything = i32::from(3u16.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(everything)))?;
    socket.set_recv_buffer_size(16 << 20)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}
