//! The applications of a node: one that sends, one reader for each service, and one that answers requests.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rouse_core::{Event, Node, Outgoing, Sent, VirtualRuntime};
use rouse_tests::SeededRandom;

use crate::message::{Draft, ECHO, Promise, number, service_name};
use crate::plan::NodeId;
use crate::world::World;

/// One run of the applications of a node.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) node: Node,
    pub(crate) id: NodeId,
    pub(crate) run: u64,
    pub(crate) world: Arc<World>,
}

impl Application {
    /// Starts all of them as tasks of the process that calls it.
    pub(crate) fn start(self, random: &mut SeededRandom) {
        let services = 0..=self.world.workload.services;
        for service in services {
            let (reader, draws) = (self.clone(), random.fork());
            VirtualRuntime::spawn(async move { reader.read(service, draws).await });
        }
        let (echo, events, draws) = (self.clone(), self.clone(), random.fork());
        VirtualRuntime::spawn(async move { echo.serve().await });
        VirtualRuntime::spawn(async move { events.observe().await });
        VirtualRuntime::spawn(async move { self.send_all(draws).await });
    }

    /// Reads the messages of a service.
    async fn read(self, service: usize, mut random: SeededRandom) {
        let Ok(mailbox) = self.node.service(service_name(service)) else { return };
        let workload = self.world.workload;
        while let Ok(batch) = mailbox.fetch_batch(1).await {
            for message in batch {
                let Some(number) = self.world.ledger().take(self.id, self.run, &message) else { return };
                if !self.world.is_calm() {
                    VirtualRuntime::sleep(random.span(Duration::ZERO, workload.reading)).await;
                }
                if !self.world.is_calm() && random.chance(workload.give_back) {
                    self.world.ledger().give_back(number);
                    mailbox.unrecv(message);
                } else {
                    self.world.ledger().acknowledge(number);
                    mailbox.mark_taken([&message]);
                }
            }
        }
    }

    /// Answers requests with their own bodies.
    async fn serve(self) {
        let Ok(mailbox) = self.node.service(service_name(ECHO)) else { return };
        while let Ok(message) = mailbox.recv().await {
            self.world.ledger().take(self.id, self.run, &message);
            // It ends with the node.
            let _ = self.node.reply(&message, message.body.clone()).await;
        }
    }

    /// Records the messages that expire in the journal.
    async fn observe(self) {
        let mut events = self.node.events();
        while let Some((_, event)) = events.next().await {
            if let Event::MessageExpired { id, .. } = event {
                self.world.ledger().expired(&id);
            }
        }
    }

    /// Makes the calls that are left for this node.
    async fn send_all(self, mut random: SeededRandom) {
        let workload = self.world.workload;
        while self.world.next_call(self.id) {
            VirtualRuntime::sleep(random.span(Duration::ZERO, workload.pause)).await;
            match random.below(20) {
                0..11 => self.send(&mut random, Promise::Durable, 1).await,
                11..14 => {
                    let count = 2 + random.below(9);
                    self.send(&mut random, Promise::Durable, count).await;
                }
                14..17 => self.send(&mut random, Promise::Volatile, 1).await,
                17..19 => self.request(&mut random),
                _ => self.cancel(&mut random).await,
            }
        }
    }

    fn draft(&self, random: &mut SeededRandom, promise: Promise) -> Draft {
        let Place { to, service } = self.destination(random, promise);
        let workload = self.world.workload;
        let length = if random.chance(workload.long) { 30_000 } else { 200 };
        let life = match random.chance(workload.short_life) {
            true => random.span(Duration::from_millis(1), Duration::from_secs(10)).as_millis(),
            false => 7 * 24 * 3_600_000,
        };
        let life = Duration::from_millis(life as u64);
        Draft { from: self.id, to, service, promise, life, length: 8 + random.below(length) }
    }

    fn destination(&self, random: &mut SeededRandom, promise: Promise) -> Place {
        let nodes = self.world.addresses.len();
        let to = (self.id + 1 + random.below(nodes - 1)) % nodes;
        let service = match promise {
            Promise::Request => ECHO,
            _ => random.below(self.world.workload.services + 1),
        };
        Place { to, service }
    }

    /// Sends one message or a batch, and awaits the outcomes in tasks of their own.
    async fn send(&self, random: &mut SeededRandom, promise: Promise, count: usize) {
        let mut numbers = Vec::with_capacity(count);
        let batch: Vec<Outgoing> = (0..count)
            .map(|_| {
                let draft = self.draft(random, promise);
                let (number, body) = self.world.ledger().begin(draft);
                numbers.push(number);
                let message = Outgoing::new(self.world.addresses[draft.to], body).ttl(draft.life);
                let message =
                    if draft.service == 0 { message } else { message.service(service_name(draft.service)) };
                if promise == Promise::Volatile { message.volatile() } else { message }
            })
            .collect();
        let result = match <[Outgoing; 1]>::try_from(batch) {
            Ok([message]) => self.node.submit(message).await.map(|sent| vec![sent]),
            Err(batch) => self.node.send_batch(batch).await,
        };
        match result {
            Ok(all) => numbers.into_iter().zip(all).for_each(|(number, sent)| self.accept(number, sent)),
            Err(error) if count == 1 => self.world.ledger().refused(numbers[0], &error),
            // Some of a batch may have been accepted, and the error is that of the first one that was not.
            Err(error) => {
                let text = format!("a batch failed: {error}");
                self.world.ledger().note(format_args!("{text}"));
            }
        }
    }

    fn accept(&self, number: u64, sent: Sent) {
        self.world.ledger().accepted(number, sent.id);
        let world = self.world.clone();
        VirtualRuntime::spawn(async move {
            let result = sent.delivered().await.map(drop);
            world.ledger().reported(number, &result);
        });
    }

    fn request(&self, random: &mut SeededRandom) {
        let draft = Draft { life: Duration::from_secs(10), ..self.draft(random, Promise::Request) };
        let (sent, body) = self.world.ledger().begin(draft);
        let application = self.clone();
        VirtualRuntime::spawn(async move {
            let Application { node, world, .. } = application;
            let asked = node.request(&world.addresses[draft.to], service_name(ECHO), body, draft.life).await;
            let mut ledger = world.ledger();
            match asked {
                Ok(answer) if number(&answer.body) == Some(sent) => {
                    ledger.note(format_args!("request {sent} is answered"));
                }
                Ok(answer) => {
                    let other = number(&answer.body);
                    ledger.violate(format!("request {sent} gets the answer of {other:?}"));
                }
                Err(error) => ledger.note(format_args!("request {sent}: {error}")),
            }
        });
    }

    async fn cancel(&self, random: &mut SeededRandom) {
        let picked = self.world.ledger().waiting_of(self.id, random.below(1 << 20));
        let Some((number, id)) = picked else { return };
        self.world.ledger().cancel(number);
        let result = self.node.cancel(&id).await;
        self.world.ledger().note(format_args!("the cancellation of {number} results in {result:?}"));
    }
}

/// The place to which a message goes.
struct Place {
    to: NodeId,
    service: usize,
}
