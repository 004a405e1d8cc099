//! The futures of the library can be spawned on an executor with several threads. The functions here are compiled and never
//! run: a future that is not `Send` is an error of the compiler.

use std::time::Duration;

use rouse_core::ipc::Client;
use rouse_core::{Mailbox, Message, Node, NodeBuilder, Outgoing};

fn is_send<T: Send>(_: T) {}

async fn echo(message: Message) -> Result<Vec<u8>, String> {
    Ok(message.body.to_vec())
}

fn of_a_node(node: &'static Node, builder: NodeBuilder, message: Outgoing, request: Message) {
    let to = request.from;
    is_send(builder.start());
    is_send(node.serve("echo", echo));
    is_send(node.serve("echo", |message| async move { echo(message).await }));
    is_send(node.request(&to, "echo", "text", Duration::ZERO));
    is_send(node.reply(&request, "text"));
    is_send(node.send(&to, "text"));
    is_send(node.submit(message.clone()));
    is_send(node.send_batch(vec![message]));
    is_send((node.recv(), node.recv_from(&to), node.recv_batch(1)));
    is_send((node.status(), node.peers(), node.routes(), node.outbox(1)));
    is_send((node.ping(&to, Duration::ZERO), node.trace(&to, 8, Duration::ZERO)));
    is_send(node.stop());
}

fn of_a_mailbox(mailbox: &'static Mailbox, message: Message) {
    is_send((mailbox.recv(), mailbox.recv_from(&message.from), mailbox.recv_batch(1)));
}

fn of_a_client(client: &'static Client, message: Outgoing, request: Message) {
    let to = request.from;
    is_send(Client::connect_default());
    is_send(client.serve("echo", echo));
    is_send(client.serve("echo", |message| async move { echo(message).await }));
    is_send(client.request(&to, "echo", "text", Duration::ZERO));
    is_send(client.reply(&request, "text"));
    is_send(client.send(&to, "text"));
    is_send(client.submit(message.clone()));
    is_send(client.send_batch(vec![message]));
    is_send((client.recv(), client.recv_from(&to), client.recv_batch(1)));
    is_send((client.status(), client.peers(), client.routes(), client.outbox(1)));
}

#[test]
fn futures_of_nodes_mailboxes_and_clients_can_be_spawned() {
    let _: fn(&'static Node, NodeBuilder, Outgoing, Message) = of_a_node;
    let _: fn(&'static Mailbox, Message) = of_a_mailbox;
    let _: fn(&'static Client, Outgoing, Message) = of_a_client;
}
