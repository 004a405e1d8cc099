//! The parameters of a simulation.

use std::time::Duration;

/// The part of a node that is simulated. More of it costs more time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fidelity {
    /// Routers over channels that lose nothing and keep the order; a frame lost by the medium delays its message instead. The
    /// ends of a cut link are notified. It is fast enough for a thousand nodes and more.
    #[default]
    Route,
    /// Handshakes, sealed frames, hellos, measured costs and a control channel with retransmission, over a medium that loses
    /// frames. Timers detect failures, and packets can be sent.
    Link,
}

/// The parameters of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The seed of all random numbers of the run.
    pub seed: u64,
    /// The part of a node that is simulated.
    pub fidelity: Fidelity,
    /// The share of frames that every link loses in each direction, from 0 to below 1.
    pub loss: f64,
    /// Bytes per second that every link carries in each direction; `None` for no limit.
    pub rate: Option<u64>,
    /// The bounds of a link's delay. Each link's delay is drawn between them.
    pub latency: (Duration, Duration),
    /// The most destinations that a node keeps, as in its configuration; at most 32 768.
    pub destinations: usize,
    /// The longest time that a node takes to verify the signatures of a batch. With zero it takes no time, and all nodes share
    /// the announces that one of them has verified.
    pub verifying: Duration,
    /// Whether the search for loops also follows alternates, in any combination. It is slow, so it suits small networks only.
    pub thorough: bool,
}

/// Routers with the limits of a daemon, over lossless links with delays of 1.5 to 5 ms.
impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 0,
            fidelity: Fidelity::Route,
            loss: 0.0,
            rate: None,
            latency: (Duration::from_micros(1_500), Duration::from_millis(5)),
            destinations: 32_768,
            verifying: Duration::ZERO,
            thorough: false,
        }
    }
}
