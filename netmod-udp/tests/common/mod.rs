//! What the tests of this crate share.
#![allow(dead_code, missing_docs)]

use std::future::Future;
use std::time::Duration;

use rouse_core::netmod::{Endpoint, Heard, Netmod, NetmodError, Received};
use rouse_netmod_udp::{Udp, UdpConfig};

/// Far more than anything here takes: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The result of `future`, which has to come.
pub async fn soon<F: Future>(future: F) -> F::Output {
    async_std::future::timeout(PATIENCE, future).await.expect("nothing came for a minute")
}

/// A netmod that looks for nobody.
pub fn quiet(listen: &str) -> Udp {
    let udp = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on(listen).unwrap() });
    async_std::task::block_on(udp.open()).unwrap();
    udp
}

/// Where `udp` can be sent to from this host.
pub fn endpoint(udp: &Udp) -> Endpoint {
    let mut address = udp.local_addr().unwrap();
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Endpoint::from(address)
}

/// The next `count` frames, with whom they came from.
pub async fn frames(udp: &Udp, count: usize) -> Vec<(Endpoint, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut received = Received::default();
    while frames.len() < count {
        received.clear();
        soon(udp.recv(&mut received)).await.unwrap();
        for arrival in received.arrivals.drain(..) {
            assert!(arrival.size > 0);
            frames.extend(arrival.bytes.chunks(arrival.size).map(|frame| (arrival.endpoint, frame.to_vec())));
        }
    }
    frames
}

/// The next who is heard and `wanted`.
pub async fn heard(udp: &Udp, wanted: impl Fn(&Heard) -> bool) -> Result<Heard, NetmodError> {
    let mut received = Received::default();
    loop {
        received.clear();
        udp.recv(&mut received).await?;
        if let Some(heard) = received.heard.iter().find(|heard| wanted(heard)) {
            return Ok(*heard);
        }
    }
}
