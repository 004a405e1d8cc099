//! Frames over the loopback interface: trains, errors, ports, closing and opening again.
#![allow(missing_docs)]

mod common;

use std::net::{Ipv4Addr, UdpSocket};

use async_std::task::block_on;
use common::{endpoint, frames, quiet, soon};
use futures::future::{join, select};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Received, Train};
use rouse_netmod_udp::{DEFAULT_PORT, Udp, UdpConfig};

/// Sends a train and checks that its frames arrive, each whole and in order.
fn carries(from: &Udp, to: &Udp, length: usize, size: usize) {
    let bytes: Vec<u8> = (0..length).map(|at| (at / size + at) as u8).collect();
    let train = Train { bytes: &bytes, size };
    block_on(async {
        let destination = endpoint(to);
        let (sent, got) = join(soon(from.send(&destination, train)), frames(to, train.frames().len())).await;
        sent.unwrap();
        let expected: Vec<_> = train.frames().map(|frame| (endpoint(from), frame.to_vec())).collect();
        assert_eq!(got, expected, "a train of {length} bytes in frames of {size}");
    });
}

fn carries_all_shapes(from: &Udp, to: &Udp) {
    for (length, size) in
        [(1, 1), (64, 64), (1200, 1200), (1201, 1200), (64_800, 1200), (6100, 1200), (9000, 9000)]
    {
        carries(from, to, length, size);
    }
    // Long ones, which leave in the buffer that they came in, between short ones, which are copied.
    for _ in 0..100 {
        carries(from, to, 60_000, 1000);
        carries(from, to, 17, 5);
    }
}

#[test]
fn trains_of_any_shape_arrive_over_ipv4() {
    carries_all_shapes(&quiet("127.0.0.1:0"), &quiet("127.0.0.1:0"));
}

#[test]
fn trains_of_any_shape_arrive_over_ipv6() {
    carries_all_shapes(&quiet("[::1]:0"), &quiet("[::1]:0"));
}

#[test]
fn trains_arrive_where_the_kernel_cannot_cut_them() {
    let config = UdpConfig::listen_on("127.0.0.1:0").unwrap();
    let from = Udp::with(UdpConfig { discover: false, segmentation_offload: false, ..config });
    block_on(from.open()).unwrap();
    carries_all_shapes(&from, &quiet("127.0.0.1:0"));
}

#[test]
fn a_train_longer_than_one_call_takes_arrives() {
    carries(&quiet("127.0.0.1:0"), &quiet("127.0.0.1:0"), 200_000, 1200);
}

#[test]
fn the_wildcard_address_serves_both_families_on_one_port() {
    let udp = quiet("[::]:0");
    let port = udp.local_addr().unwrap().port();
    assert_eq!(udp.uri(), format!("udp:[::]:{port}"));
    let (v4, v6) = (quiet("127.0.0.1:0"), quiet("[::1]:0"));
    let send = |from: &Udp, to: std::net::SocketAddr| {
        block_on(soon(from.send(&Endpoint::from(to), Train::single(b"hello")))).unwrap();
        assert_eq!(block_on(frames(&udp, 1)), [(endpoint(from), b"hello".to_vec())]);
        block_on(soon(udp.send(&endpoint(from), Train::single(b"there")))).unwrap();
        assert_eq!(block_on(frames(from, 1)), [(Endpoint::from(to), b"there".to_vec())]);
    };
    send(&v4, (Ipv4Addr::LOCALHOST, port).into());
    send(&v6, (std::net::Ipv6Addr::LOCALHOST, port).into());
}

#[test]
fn an_answer_is_sent_from_the_address_that_the_frame_was_sent_to() {
    let (dialler, answerer) = (quiet("127.0.0.1:0"), quiet("0.0.0.0:0"));
    let port = answerer.local_addr().unwrap().port();
    block_on(async {
        for last in [2, 1, 77] {
            let dialled = Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, last], port)));
            soon(dialler.send(&dialled, Train::single(b"ask"))).await.unwrap();
            let (source, _) = frames(&answerer, 1).await.remove(0);
            assert_eq!(
                source,
                endpoint(&dialler),
                "the endpoint is the same, whatever address the frame was sent to"
            );
            for answer in [Train::single(b"answer"), Train { bytes: &[7; 3000], size: 1000 }] {
                soon(answerer.send(&source, answer)).await.unwrap();
                let got = frames(&dialler, answer.frames().len()).await;
                assert!(got.iter().all(|(from, _)| *from == dialled), "127.0.0.{last}: {got:?}");
            }
        }
    });
}

#[test]
fn a_source_that_this_host_does_not_have_costs_no_frame() {
    let (from, to) = (quiet("0.0.0.0:0"), quiet("127.0.0.1:0"));
    // 192.0.2.0/24 is for documentation: no host has it.
    let stale = endpoint(&to).arrived_at(&[192, 0, 2, 77]);
    block_on(async {
        for _ in 0..3 {
            soon(from.send(&stale, Train { bytes: &[7; 9000], size: 1000 })).await.unwrap();
            assert_eq!(frames(&to, 9).await, vec![(endpoint(&from), vec![7; 1000]); 9]);
        }
    });
}

#[test]
fn a_busy_socket_does_not_starve_the_other() {
    let udp = quiet("[::]:0");
    let port = udp.local_addr().unwrap().port();
    let (v4, v6) = (quiet("127.0.0.1:0"), quiet("[::1]:0"));
    let to = Endpoint::from(std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
    block_on(async {
        // More than two batches wait on one socket. The lengths of the frames differ, so that the kernel merges none.
        for length in 1..100 {
            v6.send(&to, Train::single(&vec![6; length * 7 % 101 + 1])).await.unwrap();
        }
        v4.send(&Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, 1], port))), Train::single(b"4"))
            .await
            .unwrap();
        let mut received = Received::default();
        for _ in 0..2 {
            soon(udp.recv(&mut received)).await.unwrap();
        }
        assert!(received.arrivals.iter().any(|arrival| arrival.endpoint == endpoint(&v4)));
    });
}

#[test]
fn an_endpoint_without_a_listener_does_not_stop_the_netmod() {
    let (a, b) = (quiet("127.0.0.1:0"), quiet("127.0.0.1:0"));
    let unbound = {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        Endpoint::from(gone.local_addr().unwrap())
    };
    for _ in 0..3 {
        match block_on(soon(a.send(&unbound, Train::single(b"?")))) {
            Ok(()) | Err(NetmodError::Endpoint(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    carries(&a, &b, 3000, 1000);
    carries(&b, &a, 3000, 1000);
}

#[test]
fn a_frame_that_cannot_be_sent_is_an_error_and_harms_no_other() {
    let (a, b) = (quiet("127.0.0.1:0"), quiet("127.0.0.1:0"));
    block_on(async {
        let too_long = vec![0; 65_508];
        assert!(matches!(a.send(&endpoint(&b), Train::single(&too_long)).await, Err(NetmodError::TooLong)));
        for to in [
            "127.0.0.1:0",
            "0.0.0.0:7",
            "0.1.2.3:7",
            "[fe80::1]:7",
            "[::1]:7",
            "[::ffff:127.0.0.1]:7",
            "239.1.1.1:7",
            "255.255.255.255:7",
            "192.0.2.7:7",
        ] {
            let to = Endpoint::from(to.parse::<std::net::SocketAddr>().unwrap());
            let error = a.send(&to, Train::single(b"?")).await.unwrap_err();
            assert!(matches!(error, NetmodError::Endpoint(_)), "{}: {error:?}", a.describe(&to));
        }
        let stranger = Endpoint::new(b"no address").unwrap();
        assert!(matches!(a.send(&stranger, Train::single(b"?")).await, Err(NetmodError::Endpoint(_))));
        a.send(&endpoint(&b), Train { bytes: &[], size: 1 }).await.unwrap();
    });
    carries(&a, &b, 3000, 1000);
}

#[test]
fn the_longest_datagram_arrives_whole_and_an_empty_one_is_no_frame() {
    let udp = quiet("127.0.0.1:0");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&[], udp.local_addr().unwrap()).unwrap();
    socket.send_to(&[7; 65_507], udp.local_addr().unwrap()).unwrap();
    let got = block_on(frames(&udp, 1));
    assert_eq!(got[0].1, [7; 65_507]);
    assert_eq!(udp.counters().malformed, 1);
}

#[test]
fn frames_that_are_kept_are_not_written_over() {
    let (a, b) = (quiet("127.0.0.1:0"), quiet("127.0.0.1:0"));
    let mut kept = Vec::new();
    block_on(async {
        for round in 0..200_u8 {
            let bytes = vec![round; if round % 2 == 0 { 50_000 } else { 300 }];
            a.send(&endpoint(&b), Train { bytes: &bytes, size: 1000 }).await.unwrap();
            let mut received = Received::default();
            let mut length = 0;
            while length < bytes.len() {
                let before = received.arrivals.len();
                soon(b.recv(&mut received)).await.unwrap();
                length +=
                    received.arrivals[before..].iter().map(|arrival| arrival.bytes.len()).sum::<usize>();
            }
            kept.push((round, received.arrivals));
        }
    });
    for (round, arrivals) in kept {
        assert!(arrivals.iter().all(|arrival| arrival.bytes.iter().all(|&byte| byte == round)));
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let first = quiet("127.0.0.1:0");
    let taken = first.local_addr().unwrap().to_string();
    let error = Udp::bind(&taken).err().unwrap();
    assert!(matches!(error, NetmodError::Gone(_)), "{error:?}");
    assert!(error.to_string().contains(&taken), "{error}");

    // IPv4 taken is enough for an address that stands for both families.
    let port = first.local_addr().unwrap().port();
    assert!(matches!(Udp::bind(&format!("[::]:{port}")), Err(NetmodError::Gone(_))));
}

#[test]
fn only_the_default_port_may_be_replaced() {
    // Either this test has bound it, or another program on this host has.
    let _taken = UdpSocket::bind(("127.0.0.1", DEFAULT_PORT));
    let fallback = |default_port_fallback| {
        let listen = format!("127.0.0.1:{DEFAULT_PORT}").parse().unwrap();
        let udp =
            Udp::with(UdpConfig { listen, default_port_fallback, discover: false, ..UdpConfig::default() });
        block_on(udp.open()).map(|()| udp)
    };
    assert!(matches!(fallback(false), Err(NetmodError::Gone(_))));
    let udp = fallback(true).unwrap();
    assert_ne!(udp.local_addr().unwrap().port(), DEFAULT_PORT);
    assert!(udp.notes().iter().any(|note| note.text.contains("7700")), "{:?}", udp.notes());
    carries(&udp, &quiet("127.0.0.1:0"), 10, 10);
}

#[test]
fn a_netmod_with_a_configuration_opens_only_when_it_is_opened() {
    let udp = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on("127.0.0.1:0").unwrap() });
    assert_eq!(udp.uri(), "udp:127.0.0.1:0");
    let mut received = Received::default();
    assert!(matches!(block_on(udp.recv(&mut received)), Err(NetmodError::Gone(_))));
    block_on(udp.open()).unwrap();
    let uri = udp.uri();
    assert!(!uri.ends_with(":0"));
    block_on(udp.open()).unwrap();
    assert_eq!(udp.uri(), uri);
}

#[test]
fn closing_wakes_the_task_that_waits_and_frees_the_port() {
    let udp = quiet("127.0.0.1:0");
    let address = udp.local_addr().unwrap();
    block_on(async {
        let mut received = Received::default();
        let (result, ()) = soon(join(udp.recv(&mut received), udp.close())).await;
        assert!(matches!(result, Err(NetmodError::Gone(_))), "{result:?}");
        assert!(matches!(udp.recv(&mut received).await, Err(NetmodError::Gone(_))));
        let to = Endpoint::from(address);
        assert!(matches!(udp.send(&to, Train::single(b"?")).await, Err(NetmodError::Gone(_))));
    });
    UdpSocket::bind(address).unwrap();
}

#[test]
fn a_closed_netmod_opens_again_where_it_was() {
    let (udp, other) = (quiet("127.0.0.1:0"), quiet("127.0.0.1:0"));
    let address = udp.local_addr();
    for _ in 0..3 {
        carries(&udp, &other, 3000, 1000);
        block_on(udp.close());
        assert_eq!(udp.local_addr(), None);
        block_on(udp.open()).unwrap();
        assert_eq!(udp.local_addr(), address);
        carries(&other, &udp, 3000, 1000);
    }
}

#[test]
fn a_receive_that_is_given_up_loses_nothing() {
    let (a, b) = (quiet("127.0.0.1:0"), quiet("127.0.0.1:0"));
    block_on(async {
        let mut received = Received::default();
        for _ in 0..3 {
            let given_up = select(udp_recv(&b, &mut received), Box::pin(async_std::task::yield_now())).await;
            drop(given_up);
            assert!(received.is_empty());
        }
    });
    carries(&a, &b, 3000, 1000);
}

fn udp_recv<'a>(
    udp: &'a Udp,
    received: &'a mut Received,
) -> std::pin::Pin<Box<dyn Future<Output = Result<(), NetmodError>> + Send + 'a>> {
    udp.recv(received)
}

#[test]
fn its_capabilities_are_those_of_udp() {
    let udp = quiet("127.0.0.1:0");
    let properties = udp.properties();
    assert_eq!(udp.scheme(), "udp");
    assert_eq!(properties.mtu, 1200);
    assert_eq!(properties.max_train, 54);
    assert!(!properties.broadcast);
    assert_eq!(udp.describe(&endpoint(&udp)), udp.uri());
}

#[test]
fn a_peer_of_another_family_is_refused_with_the_reason() {
    let udp = quiet("127.0.0.1:0");
    let error = block_on(udp.resolve("[::1]:7001")).unwrap_err();
    assert!(
        matches!(error, NetmodError::Endpoint(_)) && error.to_string().contains("[::1]:7001"),
        "{error:?}"
    );
    let found = block_on(udp.resolve("localhost:7001")).unwrap();
    assert_eq!(found, [Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, 1], 7001)))]);
}
