//! The order in which messages are accepted.

use rouse_tests::programs;
use serde_json::Value;

#[test]
fn messages_that_are_sent_together_are_accepted_in_the_order_of_their_lines() {
    const COUNT: usize = 300;
    let programs = programs!();
    let home = programs.daemon().start();
    let peers = [programs.daemon().peer(&home.uri()).start(), programs.daemon().start()];
    home.text(&["name", "add", "near", peers[0].address()]);
    // The link is there, but no conversation. Each peer has several spellings, and one of them is away.
    home.route_to(peers[0].address());
    let spellings = ["near", peers[0].address(), peers[1].address()];
    let mut api = home.start(&["api"]);
    for n in 0..COUNT {
        let mut params = serde_json::json!({ "peer": spellings[n % 3], "text": n.to_string() });
        if n % 4 == 0 {
            // It takes longer than the others.
            params["as"] = home.address().into();
        }
        let line = serde_json::json!({ "jsonrpc": "2.0", "id": n, "method": "send", "params": params });
        api.write_line(&line.to_string());
    }
    for _ in 0..COUNT {
        let answer = api.json_where(|_| true);
        assert_eq!(answer["result"]["durable"], true, "{answer}");
    }
    let mut near = peers[0].start(&["--json", "recv", "--count", &(COUNT / 3 * 2).to_string()]);
    let number = |message: &Value| message["text"].as_str().unwrap().parse::<usize>().unwrap();
    let arrived: Vec<usize> = (0..COUNT / 3 * 2).map(|_| number(&near.json_where(|_| true))).collect();
    assert_eq!(arrived, (0..COUNT).filter(|n| n % 3 != 2).collect::<Vec<_>>());
    // Those for the peer that is away wait in their order.
    let away = |waiting: &Value| waiting["to"] == peers[1].address();
    let list = home.json(&["outbox"]);
    let ids: Vec<_> = list.as_array().unwrap().iter().filter(|waiting| away(waiting)).collect();
    let texts = ids.iter().map(|waiting| home.json(&["outbox", "show", waiting["id"].as_str().unwrap()]));
    let numbers: Vec<usize> = texts.map(|shown| number(&shown)).collect();
    assert_eq!(numbers, (0..COUNT).filter(|n| n % 3 == 2).collect::<Vec<_>>());
}

#[test]
fn each_of_five_thousand_pipelined_calls_has_an_answer() {
    const COUNT: usize = 5_000;
    let programs = programs!();
    let home = programs.daemon().start();
    // The answers go through a pipe, so that some of them are under way when further lines arrive.
    let mut api = home.start(&["api"]);
    let mut input = api.take_input();
    let writer = std::thread::spawn(move || {
        for n in 0..COUNT {
            let line = serde_json::json!({ "jsonrpc": "2.0", "id": n, "method": "version" });
            std::io::Write::write_all(&mut input, format!("{line}\n").as_bytes()).unwrap();
        }
    });
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        let answer = api.json_where(|_| true);
        assert!(answer["result"].is_object() || answer["error"]["data"]["code"] == "busy", "{answer}");
        ids.insert(answer["id"].as_u64().unwrap());
    }
    assert_eq!(ids.len(), COUNT);
    writer.join().unwrap();
    assert!(api.end().success());
}
