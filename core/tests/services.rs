//! Services of an address, and requests to them.

mod common;

use std::time::Duration;

use common::*;
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, join, join_all, select};
use futures::stream::FuturesUnordered;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Message, MessageId, MessageKind, Node, Outgoing, RequestError, Service};

/// Longer than any request of these tests takes.
const LONG: Duration = Duration::from_secs(25);

async fn next(mailbox: &rouse_core::Mailbox) -> Message {
    within(mailbox.recv()).await.expect("the node runs")
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

async fn send(from: &Node, to: &Node, service: &str, body: &str) {
    from.submit(Outgoing::new(to.address(), body.as_bytes()).service(service)).await.unwrap();
}

async fn drops(node: &Node, cause: &str) -> u64 {
    node.status().await.drops.get(cause).copied().unwrap_or(0)
}

#[test]
fn programs_of_different_services_never_take_each_others_messages() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(1)).await;
        for to in [&b, &a] {
            let (chat, clock) = (to.service("chat").unwrap(), to.service("clock").unwrap());
            for nth in 0..50 {
                for service in ["chat", "", "clock"] {
                    send(&a, to, service, &format!("{service} {nth}")).await;
                }
            }
            for nth in 0..50 {
                let (words, time) = join(next(&chat), next(&clock)).await;
                assert_eq!((text(&words), text(&time)), (&*format!("chat {nth}"), &*format!("clock {nth}")));
                assert_eq!((words.service.as_str(), words.kind), ("chat", MessageKind::Plain));
                assert_eq!(text(&within(to.recv()).await.unwrap()), format!(" {nth}"));
            }
            assert_eq!(to.unfinished().unread, 0);
        }
    });
}

#[test]
fn messages_for_a_service_wait_until_a_program_opens_it_and_go_back_when_it_closes() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(2)).await;
        for nth in 0..5 {
            send(&a, &b, "late", &nth.to_string()).await;
            send(&a, &b, "never", "x").await;
        }
        until_unread(&b, 10).await;
        send(&a, &b, "", "not blocked").await;
        assert_eq!(text(&within(b.recv()).await.unwrap()), "not blocked");
        let late = b.service("late").unwrap();
        assert_eq!(text(&next(&late).await), "0");
        let one = next(&late).await;
        late.unrecv(one);
        let again = b.service("late").unwrap();
        drop(late);
        assert_eq!(text(&next(&again).await), "1");
        drop(again);
        send(&a, &b, "late", "5").await;
        until_unread(&b, 9).await;
        let later = b.service("late").unwrap();
        for nth in 2..6 {
            assert_eq!(text(&within(later.recv_from(&a.address())).await.unwrap()), nth.to_string());
        }
        assert_eq!(b.unfinished().unread, 5, "those of the service that no program opens");
    });
}

#[test]
fn a_thousand_concurrent_requests_each_get_their_own_reply() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(3)).await;
        let served = b.serve("double", async |request| {
            let number: u64 = text(&request).parse().map_err(|error| format!("{error}"))?;
            Ok((number * 2).to_string())
        });
        let ask = async |number: u64| {
            let answer = a.request(&b.address(), "double", number.to_string(), LONG).await.unwrap();
            assert_eq!((answer.from, text(&answer)), (b.address(), &*(2 * number).to_string()));
        };
        let all = async {
            join_all((0..1000).map(ask)).await;
            let wrong = a.request(&b.address(), "double", "ten", LONG).await;
            assert!(
                matches!(wrong, Err(RequestError::Failed { text, .. }) if text.contains("invalid digit"))
            );
        };
        // The service is open from the first poll of `served` on, which therefore comes first.
        let ended = within(select(Box::pin(served), Box::pin(all))).await;
        assert!(matches!(ended, Either::Right(_)), "the node has stopped");
        assert_eq!((a.unfinished().unread, drops(&a, "unrequested").await), (0, 0));
    });
}

#[test]
fn requests_to_a_missing_service_are_refused_at_once_and_in_any_number() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(4)).await;
        talk(&a, &b, "met").await;
        for to in [&b, &a] {
            let (begun, peer) = (std::time::Instant::now(), to.address());
            let requests: FuturesUnordered<_> =
                (0..1000).map(|_| a.request(&peer, "missing", "?", LONG)).collect();
            let refused: Vec<_> = within(requests.collect::<Vec<_>>()).await;
            let missing =
                RequestError::NoSuchService { peer: to.address(), service: Service::new("missing").unwrap() };
            assert!(refused.iter().all(|answer| answer.as_ref() == Err(&missing)), "{refused:?}");
            assert!(begun.elapsed() < LONG, "by an answer, and not by their time-out");
            assert_eq!(to.unfinished().unread, 0, "no request waits");
        }
    });
}

#[test]
fn a_dropped_request_is_withdrawn_and_a_late_answer_is_dropped() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(5)).await;
        let (slow, peer) = (b.service("slow").unwrap(), b.address());
        let late = a.request(&peer, "slow", "?", Duration::from_millis(300));
        let (result, request) = join(late, next(&slow)).await;
        assert_eq!(result, Err(RequestError::TimedOut(b.address())));
        b.reply(&request, "too late").await.unwrap().delivered().await.unwrap();
        assert_eq!((drops(&a, "unrequested").await, a.unfinished().unread), (1, 0));
        assert_eq!(a.unfinished().waiting, 0, "the request does not wait any more");
        // A request that cannot leave is withdrawn with its future.
        let away = node(9).start().await.unwrap().address();
        let requests = (0..100).map(|_| a.request(&away, "slow", "?", Duration::from_millis(20)));
        assert!(join_all(requests).await.iter().all(|answer| *answer == Err(RequestError::TimedOut(away))));
        assert_eq!(a.unfinished().waiting, 0);
    });
}

#[test]
fn a_further_reply_to_a_request_that_is_over_is_dropped_whatever_its_kind() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(7)).await;
        let (service, peer) = (b.service("s").unwrap(), b.address());
        let (answer, request) = join(a.request(&peer, "s", "?", LONG), async {
            let request = next(&service).await;
            let plain = Outgoing::new(a.address(), "first").in_reply_to(request.id);
            b.submit(plain).await.unwrap();
            request
        })
        .await;
        assert_eq!(text(&answer.unwrap()), "first", "a plain reply answers a request");
        let plain = Outgoing::new(a.address(), "second").in_reply_to(request.id);
        b.submit(plain).await.unwrap().delivered().await.unwrap();
        b.reply(&request, "third").await.unwrap().delivered().await.unwrap();
        assert_eq!((drops(&a, "unrequested").await, a.unfinished().unread), (2, 0));
        // A reply to a message that was no request is an ordinary message.
        let sent = a.send(&peer, "hello").await.unwrap();
        within(b.recv()).await.unwrap();
        b.submit(Outgoing::new(a.address(), "hi").in_reply_to(sent.id)).await.unwrap();
        assert_eq!(text(&within(a.recv()).await.unwrap()), "hi");
    });
}

#[test]
fn the_requests_of_a_server_that_ends_fail_at_once() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(8)).await;
        let peer = b.address();
        let requests = join_all((0..3).map(|_| a.request(&peer, "stuck", "?", LONG)));
        let (begun, started) = (std::time::Instant::now(), rouse_core::notify::Notify::new(0));
        let server = async {
            let served = b.serve("stuck", async |_| {
                *started.write() += 1;
                std::future::pending::<Result<String, String>>().await
            });
            let all = started.when(|count| (*count == 3).then_some(()));
            let ended = within(select(Box::pin(served), all)).await;
            assert!(matches!(ended, Either::Right(_)), "the node has stopped");
        };
        let (answers, ()) = join(within(requests), server).await;
        for answer in answers {
            assert!(
                matches!(&answer, Err(RequestError::Failed { text, .. }) if text.contains("has ended")),
                "{answer:?}"
            );
        }
        assert!(begun.elapsed() < LONG, "by an answer, and not by their time-out");
    });
}

#[test]
fn an_answer_reaches_only_the_request_that_it_names_and_only_from_its_recipient() {
    block_on(async {
        let net = MemNet::new(6);
        let (a, b) = pair(&net).await;
        let c = node(3).netmod(net.netmod("c")).start().await.unwrap();
        let (slow, peer) = (b.service("slow").unwrap(), b.address());
        let request = a.request(&peer, "slow", "?", LONG);
        let answers = async {
            let request = next(&slow).await;
            // Another node that has learned the id of the request cannot answer it.
            let stolen = Message { to: c.address(), ..request.clone() };
            c.reply(&stolen, "forged").await.unwrap().delivered().await.unwrap();
            // Nor is an answer to another request one to this.
            let other = Message { id: MessageId(request.id.0.map(|byte| !byte)), ..request.clone() };
            b.reply(&other, "wrong").await.unwrap().delivered().await.unwrap();
            b.reply(&request, "right").await.unwrap();
        };
        let (answer, ()) = within(join(request, answers)).await;
        assert_eq!(text(&answer.unwrap()), "right");
        assert_eq!((drops(&a, "unrequested").await, a.unfinished().unread), (2, 0));
        // A reply to a plain message waits in the mailbox of its service.
        send(&a, &b, "slow", "hello").await;
        let hello = next(&slow).await;
        b.reply(&hello, "hello too").await.unwrap();
        let reply = next(&a.service("slow").unwrap()).await;
        assert_eq!((text(&reply), reply.in_reply_to), ("hello too", Some(hello.id)));
    });
}

#[test]
fn answers_that_were_not_requested_are_dropped_in_any_number() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(8)).await;
        send(&a, &b, "", "hello").await;
        let hello = within(b.recv()).await.unwrap();
        for nth in 0..3000u128 {
            let id = MessageId(nth.to_be_bytes());
            let invented = Message { id, kind: MessageKind::Request, ..hello.clone() };
            within(b.reply(&invented, "an answer")).await.unwrap();
        }
        until("all answers are dropped", async || drops(&a, "unrequested").await == 3000).await;
        assert_eq!(a.unfinished().unread, 0);
        until("each has its receipt", async || b.unfinished().waiting == 0).await;
    });
}

/// Each name would cost an inbox of its own if the messages were not parked.
#[test]
fn a_flood_of_distinct_services_takes_the_share_of_its_sender_and_no_more() {
    block_on(async {
        let net = MemNet::new(7);
        let (a, b) = pair(&net).await;
        let c = node(3).netmod(net.netmod("c")).start().await.unwrap();
        // Of a sender that no application has answered, only a few messages leave their packets.
        talk(&a, &b, "met").await;
        for nth in 0..6000u64 {
            let message = Outgoing::new(b.address(), "x").service(format!("{nth:064}"));
            if a.try_send(message).is_err() {
                break;
            }
        }
        until("the share of the sender is used", async || b.unfinished().unread >= 4000).await;
        assert!(b.unfinished().unread <= 4096);
        // Others are not affected, and a service that is read finds its messages among them.
        send(&c, &b, "", "from another").await;
        assert_eq!(text(&within(b.recv()).await.unwrap()), "from another");
        let named = b.service(format!("{:064}", 3000)).unwrap();
        assert_eq!(text(&next(&named).await), "x");
    });
}
