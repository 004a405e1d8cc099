//! The metrics and the status page: read-only, on the loopback, and out of the way of the data path.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rouse_tests::{Daemon, programs, until, usage};

/// A daemon with a status page, and the address of the page.
fn with_page() -> (Daemon, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("roused.toml");
    // A port that was free a moment ago.
    let page = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(&file, format!("[http]\nlisten = \"{page}\"\n")).unwrap();
    let daemon = programs!().daemon().argument("--config").argument(file.to_str().unwrap()).start();
    (daemon, page, folder)
}

fn connect(page: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// The status, the head and the body of the answer to a request.
fn request(page: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = connect(page);
    write!(stream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

fn get(page: SocketAddr, path: &str) -> String {
    let (status, _, body) = request(page, "GET", path, &format!("Host: {page}\r\n"));
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The samples of a text in the format of OpenMetrics.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    lines.map(sample).collect()
}

#[test]
fn the_metrics_are_those_of_the_status() {
    let (daemon, page, _folder) = with_page();
    let other = programs!().daemon().peer(&daemon.uri()).start();
    daemon.route_to(other.address());
    daemon.text(&["send", daemon.address(), "hello"]);
    let status = daemon.json(&["status"]);
    let metrics = until("the metrics count the neighbour", || {
        let metrics = samples(&get(page, "/metrics"));
        (metrics.get("rouse_neighbours") == Some(&1.0)).then_some(metrics)
    });
    assert_eq!(metrics["rouse_inbox_messages"], 1.0);
    assert_eq!(metrics["rouse_inbox_bytes"], 5.0);
    assert_eq!(metrics["rouse_messages_queued_total"], 1.0);
    assert!(
        metrics
            .keys()
            .any(|name| name.starts_with("rouse_peer_round_trip_seconds{") && name.contains(other.address()))
    );
    for cause in status["drops"].as_object().unwrap().keys() {
        assert!(metrics.contains_key(&format!("rouse_drops_total{{cause=\"{cause}\"}}")), "{cause}");
    }
    for counter in status["counters"].as_object().unwrap().keys() {
        assert!(metrics.contains_key(&format!("rouse_{counter}_total")), "{counter}");
    }
}

#[test]
fn the_page_and_its_data_are_there_and_nothing_else() {
    let (daemon, page, _folder) = with_page();
    let index = get(page, "/");
    for part in ["/page.css", "/page.js"] {
        assert!(index.contains(part));
        get(page, part);
    }
    let state: serde_json::Value = serde_json::from_str(&get(page, "/state.json")).unwrap();
    assert_eq!(state["status"]["address"], daemon.address());
    let host = format!("Host: {page}\r\n");
    assert_eq!(request(page, "GET", "/../identity", &host).0, 404);
    assert_eq!(request(page, "POST", "/state.json", &host).0, 405);
    let (status, head, _) = request(page, "GET", "/", &host);
    assert!(status == 200 && head.contains("content-security-policy: default-src 'none'"), "{head}");
}

#[test]
fn a_page_of_another_server_reads_nothing() {
    let (_daemon, page, _folder) = with_page();
    for headers in [
        "Host: page.example\r\n".to_owned(),
        format!("Host: {page}\r\nOrigin: http://page.example\r\n"),
        format!("Host: {page}\r\nOrigin: null\r\n"),
        String::new(),
    ] {
        let (status, _, body) = request(page, "GET", "/state.json", &headers);
        assert!((status == 403 || status == 400) && !body.contains("rouse1"), "{headers}: {status} {body}");
    }
}

#[test]
fn connections_that_send_nothing_cost_little_and_messages_go_on() {
    let (daemon, page, _folder) = with_page();
    let before = usage(daemon.pid()).rss;
    // More than are accepted at a time, each with a head that never ends.
    let held: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(page);
            let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
            let _ = stream.write_all(&[b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 8192]].concat());
            stream
        })
        .collect();
    let started = Instant::now();
    daemon.text(&["send", daemon.address(), "hello"]);
    assert_eq!(daemon.json(&["recv", "--timeout", "30s"])["text"], "hello");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let grown = usage(daemon.pid()).rss.saturating_sub(before);
    assert!(grown < 16 << 20, "{} MiB", grown >> 20);
    drop(held);
    until("the page is back", || {
        (request(page, "GET", "/", &format!("Host: {page}\r\n")).0 == 200).then_some(())
    });
}

#[test]
fn a_port_that_is_taken_is_an_error_with_the_next_step() {
    let (_daemon, page, folder) = with_page();
    let file = folder.path().join("roused.toml");
    std::fs::write(&file, format!("[http]\nlisten = \"{page}\"\n")).unwrap();
    let output = programs!().daemon().argument("--config").argument(file.to_str().unwrap()).output();
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("the status page cannot listen at"), "{}", output.stderr);
}
