//! Sessions between nodes under a virtual clock.

mod handshake;
mod hostile;
mod lossy;
mod renewal;
mod world;
