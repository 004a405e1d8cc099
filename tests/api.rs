//! JSON-RPC on the socket and as `rouse api`: the reference is true, and a program loses nothing when it is killed.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rouse_tests::{Daemon, Running, programs, until, usage};
use serde_json::{Value, json};

/// A connection to the socket of a daemon.
struct Connection {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
    last_id: u64,
    /// The notifications that came before the answer of a call.
    notifications: VecDeque<Value>,
}

impl Connection {
    fn to(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Connection {
            reader: BufReader::new(stream.try_clone().unwrap()),
            stream,
            last_id: 0,
            notifications: VecDeque::new(),
        }
    }

    fn write(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the daemon has closed the connection");
        serde_json::from_str(&line).expect("JSON")
    }

    /// The answer to a call. Notifications before it are kept.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
        loop {
            let document = self.read();
            if document["id"] == id {
                return document;
            }
            self.notifications.push_back(document["params"].clone());
        }
    }

    /// The parameters of the next notification.
    fn notification(&mut self) -> Value {
        if let Some(kept) = self.notifications.pop_front() {
            return kept;
        }
        let document = self.read();
        assert!(document.get("method").is_some(), "{document}");
        document["params"].clone()
    }
}

/// Two daemons that are neighbours; the second one is called bob in the address book of the first.
fn pair() -> (Daemon, Daemon) {
    let programs = programs!();
    let bob = programs.daemon().start();
    let first = programs.daemon().peer(&bob.uri()).start();
    first.route_to(bob.address());
    bob.route_to(first.address());
    first.text(&["name", "add", "bob", bob.address()]);
    (first, bob)
}

/// The methods of the reference, each with the lines of its example.
fn reference() -> Vec<(String, Vec<(bool, Value)>)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("API.md")).unwrap();
    let line = |line: &str| {
        let (is_request, json) = match line.split_at(2) {
            ("> ", json) => (true, json),
            ("< ", json) => (false, json),
            _ => panic!("{line}"),
        };
        (is_request, serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}")))
    };
    let section = |text: &str| {
        let (method, rest) = text.split_once('\n').unwrap();
        let example = rest.split("```json\n").nth(1).unwrap_or_else(|| panic!("{method} has no example"));
        let lines = example.split("\n```").next().unwrap().lines().map(line).collect();
        (method.to_owned(), lines)
    };
    text.split("\n### ").skip(1).map(section).collect()
}

/// Panics unless a document has the fields of the documented one, with values of the same kinds. `null` stands for any value,
/// and a field `...` for further fields.
#[track_caller]
fn agrees(documented: &Value, live: &Value) {
    match (documented, live) {
        (Value::Object(documented), Value::Object(live)) => {
            let fields = |object: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                object.keys().filter(|key| *key != "...").cloned().collect()
            };
            let (wanted, there) = (fields(documented), fields(live));
            match documented.contains_key("...") {
                true => assert!(wanted.is_subset(&there), "{wanted:?} are not all in {there:?}"),
                false => assert_eq!(wanted, there),
            }
            wanted.iter().for_each(|field| agrees(&documented[field], &live[field]));
        }
        (Value::Array(documented), Value::Array(live)) => {
            assert!(!live.is_empty(), "an empty list");
            live.iter().for_each(|live| agrees(&documented[0], live));
        }
        (Value::Null, _) | (_, Value::Null) => {}
        // A number above 2^53.
        (Value::Number(_), Value::String(digits)) if digits.parse::<u64>().is_ok() => {}
        (documented, live) => {
            assert_eq!(
                std::mem::discriminant(documented),
                std::mem::discriminant(live),
                "{documented} against {live}"
            );
        }
    }
}

/// The ids in the examples: of a message for a node that is away, of one that waits here, and of a dead letter.
fn ids_of_examples(first: &Daemon, bob: &Daemon) -> [(&'static str, String); 3] {
    let absent = programs!().daemon().start().address().to_owned();
    let waiting = first.json(&["send", &absent, "hi"])["id"].as_str().unwrap().to_owned();
    for service in ["alarms", "broken"] {
        bob.text(&["send", first.address(), "hi", "--service", service]);
    }
    for _ in 0..16 {
        first.rouse(&["recv", "--service", "broken", "--exec", "false", "--timeout", "60s"]).exits(1);
    }
    let id_in = |list: &str| {
        until("it is listed", || first.json(&["inbox", list])[0]["id"].as_str().map(str::to_owned))
    };
    [("0b7c…", waiting), ("9c21…", id_in("list")), ("d3ad…", id_in("dead"))]
}

#[test]
fn each_method_answers_as_the_reference_describes() {
    let (first, bob) = pair();
    let mut clock = bob.start(&["serve", "clock", "--", "printf", "noon"]);
    until("the service of the example is open", || {
        (bob.rouse(&["request", bob.address(), "clock", "now?"]).code == Some(0)).then_some(())
    });
    let ids = ids_of_examples(&first, &bob);
    let mut api = first.start(&["api"]);
    let mut messages: Vec<String> = Vec::new();
    for (method, lines) in reference() {
        for (is_request, documented) in lines {
            let text = documented.to_string().replace("rouse1…", bob.address());
            if is_request {
                assert_eq!(documented["method"], method.as_str());
                let id = if text.contains("5a31…") { messages.remove(0) } else { String::new() };
                let text =
                    ids.iter().fold(text.replace("5a31…", &id), |text, (from, to)| text.replace(from, to));
                api.write_line(&text);
                continue;
            }
            if documented.get("id").is_none() {
                // A notification, of which a message from the other node is the reason.
                bob.text(&["send", first.address(), "hi"]);
                bob.text(&["send", first.address(), "hi"]);
            }
            let kind = documented["params"]["event"].clone();
            let live = api.json_where(|live| match documented.get("id") {
                Some(id) => live["id"] == *id,
                None => live["method"] == documented["method"] && live["params"]["event"] == kind,
            });
            assert_eq!(documented.get("error").is_some(), live.get("error").is_some(), "{method}: {live}");
            agrees(&documented, &live);
            assert_eq!(documented.get("method"), live.get("method"));
            if method == "send" {
                assert_eq!(live["result"]["durable"], true);
            }
            if live["method"] == "message" {
                assert_eq!(live["params"]["text"], "hi");
                messages.push(live["params"]["id"].as_str().unwrap().to_owned());
                messages.push(
                    api.json_where(|live| live["method"] == "message")["params"]["id"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    drop(api.take_input());
    assert!(api.end().success());
    clock.kill();
}

#[test]
fn a_program_answers_requests_by_messages_that_name_them() {
    let (first, bob) = pair();
    let mut api = Connection::to(&bob);
    api.call("receive.open", json!({ "service": "clock" }));
    let mut request = first.start(&["request", "bob", "clock", "now?", "--timeout", "60s"]);
    let message = api.notification();
    assert_eq!((&message["service"], &message["kind"]), (&json!("clock"), &json!("request")));
    api.call("send", json!({ "peer": message["from"], "in_reply_to": message["id"], "text": "noon" }));
    api.call("ack", json!({ "id": message["id"] }));
    assert_eq!(request.line().as_deref(), Some("noon"));
    let missing = api.call("request", json!({ "peer": first.address(), "service": "none", "text": "?" }));
    assert_eq!(missing["error"]["data"]["code"], "no_such_service");
}

#[test]
fn an_error_has_a_number_a_code_and_the_next_step() {
    let (first, _bob) = pair();
    let mut api = Connection::to(&first);
    let error = |answer: Value| {
        let error = answer["error"].clone();
        (error["code"].as_i64().unwrap(), error["data"]["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(error(api.call("ping", json!({ "peer": "bbo" }))), (-32000, "unknown_name".to_owned()));
    assert_eq!(error(api.call("pong", json!({}))), (-32601, "method".to_owned()));
    assert_eq!(error(api.call("ping", json!({ "peeer": "bob" }))), (-32602, "params".to_owned()));
    assert_eq!(error(api.call("ping", json!(["bob"]))), (-32602, "params".to_owned()));
    let absent = json!({ "id": "00000000000000000000000000000000" });
    assert_eq!(error(api.call("ack", absent)), (-32000, "not_found".to_owned()));
    for (line, number) in [
        ("{ no JSON", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"id"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"id"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"id","extra":1}"#, -32600),
    ] {
        api.write(line);
        let answer = api.read();
        assert_eq!((answer["error"]["code"].as_i64(), &answer["id"]), (Some(number), &Value::Null), "{line}");
    }
    // A notification has no answer, not even to its error.
    api.write(r#"{"jsonrpc":"2.0","method":"pong"}"#);
    assert_eq!(api.call("id", json!({}))["result"]["address"], first.address());
}

#[test]
fn messages_that_were_not_acknowledged_go_back_in_their_order() {
    let (first, _bob) = pair();
    for n in 0..6 {
        first.text(&["send", first.address(), &n.to_string()]);
    }
    let texts = |api: &mut Connection, count: usize| -> Vec<Value> {
        (0..count).map(|_| api.notification()).collect()
    };
    let numbers = |messages: &[Value]| -> Vec<String> {
        messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    };
    let mut lost = Connection::to(&first);
    lost.call("receive.open", json!({ "limit": 4 }));
    let delivered = texts(&mut lost, 4);
    assert_eq!(numbers(&delivered), ["0", "1", "2", "3"]);
    lost.call("ack", json!({ "id": delivered[1]["id"], "from": first.address() }));
    assert_eq!(numbers(&texts(&mut lost, 1)), ["4"], "an acknowledgement makes room");
    drop(lost);
    // A receiver that is opened before the daemon has seen the end of the connection would get the last message first.
    until("the messages are back", || (first.json(&["status"])["inbox"]["messages"] == 5).then_some(()));

    let mut api = Connection::to(&first);
    let receiver = api.call("receive.open", json!({}))["result"]["receiver"].clone();
    let again = texts(&mut api, 5);
    assert_eq!(numbers(&again), ["0", "2", "3", "4", "5"]);
    assert!(api.call("nack", json!({ "id": again[0]["id"] }))["result"].is_object());
    assert_eq!(numbers(&texts(&mut api, 1)), ["0"]);
    // They are back when the answer is here, in the order in which they arrived.
    api.call("receive.close", json!({ "receiver": receiver }));
    let rest = first.rouse(&["recv", "--count", "5", "--timeout", "30s"]).exits(0).text();
    let rest: Vec<&str> = rest.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(rest, ["0", "2", "3", "4", "5"]);
}

#[test]
fn a_program_that_stays_connected_sees_the_daemon_stop() {
    let (first, _bob) = pair();
    let mut api = first.start(&["api"]);
    api.write_line(r#"{"jsonrpc":"2.0","id":1,"method":"receive.open"}"#);
    api.json_where(|line| line["id"] == 1);
    first.text(&["stop"]);
    api.json_where(|line| line["method"] == "closed" && line["params"]["error"]["data"]["code"] == "stopped");
    assert_eq!(api.end().code(), Some(3));
}

#[test]
fn lines_without_an_end_cost_little_and_the_connection_goes_on() {
    const LONG: usize = 20 << 20;
    let daemon = programs!().daemon().start();
    let before = usage(daemon.pid()).rss;
    // Each writes more than half of what all of them may keep.
    let mut all: Vec<Connection> = (0..12).map(|_| Connection::to(&daemon)).collect();
    for connection in &mut all {
        connection.write(r#"{"jsonrpc":"2.0","id":1,"method":"id"}"#);
        connection.read();
        connection.stream.write_all(&vec![b'x'; LONG]).unwrap();
    }
    let grown = usage(daemon.pid()).rss.saturating_sub(before);
    assert!(grown < 100 << 20, "{} MiB for {} MiB", grown >> 20, (12 * LONG) >> 20);
    let mut last = all.pop().unwrap();
    last.write("");
    assert_eq!(last.read()["error"]["data"]["code"], "busy");
    drop(all);
    last.stream.write_all(&vec![b' '; 33 << 20]).unwrap();
    last.write("");
    assert_eq!(last.read()["error"]["data"]["code"], "parse");
    assert_eq!(last.call("id", json!({}))["result"]["address"], daemon.address());
    assert_eq!(daemon.text(&["id"]), daemon.address());
}

/// The example in Python, if there is a Python.
fn bot(daemon: &Daemon) -> Option<Command> {
    Command::new("python3").arg("--version").output().ok()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/echo_bot.py");
    let mut command = Command::new("python3");
    command.arg(script).env("ROUSE_SOCKET", daemon.socket());
    Some(command)
}

#[test]
fn a_bot_in_python_that_is_killed_at_any_moment_loses_no_message() {
    const COUNT: usize = 60;
    let (sender, home) = pair();
    let Some(mut bot) = bot(&home) else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let wanted: BTreeSet<String> = (0..COUNT).map(|n| n.to_string()).collect();
    let mut answers = sender.start(&["--json", "recv", "--follow"]);
    let mut sending = Vec::new();
    let mut kills = 0;
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT {
        let mut running = Running::start(&mut bot);
        if let Some(n) = (sending.len() < COUNT).then_some(sending.len()) {
            for n in n..(n + 10).min(COUNT) {
                sender.text(&["send", home.address(), &n.to_string()]);
                sending.push(n);
            }
        }
        // Lives of different lengths end it while it starts, receives, sends and acknowledges.
        let life = Duration::from_millis(60 + 37 * (kills % 11));
        while let Some(line) = answers.line_within(life) {
            let answer: Value = serde_json::from_str(&line).unwrap();
            seen.insert(answer["text"].as_str().unwrap().to_owned());
            if sending.len() < COUNT {
                break;
            }
        }
        running.kill();
        kills += 1;
        assert!(kills < 500, "only {} of {COUNT} came back", seen.len());
    }
    assert_eq!(seen, wanted);
}

#[test]
fn a_peer_that_reads_nothing_costs_no_memory() {
    let daemon = programs!().daemon().start();
    let mut api = Connection::to(&daemon);
    let before = usage(daemon.pid()).rss;
    let mut requests = String::new();
    for id in 0..50_000 {
        requests.push_str(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"status\"}}\n"));
    }
    api.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // It blocks once the daemon stops reading, or all of it is refused.
    let _ = api.stream.write_all(requests.as_bytes());
    let grown = usage(daemon.pid()).rss.saturating_sub(before);
    assert!(grown < 32 << 20, "{} MiB", grown >> 20);
    assert_eq!(daemon.text(&["id"]), daemon.address());
    let mut some = [0; 1 << 16];
    until("it answers", || api.reader.read(&mut some).ok().filter(|read| *read > 0));
}

#[test]
fn a_text_connection_is_closed_in_time_when_it_sends_nothing_more_than_a_brace() {
    let daemon = programs!().daemon().start();
    let mut silent = Connection::to(&daemon);
    silent.stream.write_all(b"{").unwrap();
    silent.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(silent.read()["error"]["code"], -32700);
    let mut rest = String::new();
    silent.reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let mut rouse = daemon.command(&["api"]);
    let ended = rouse.stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
}
