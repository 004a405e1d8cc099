//! One conversation at work: what arrives goes into the mailbox, what is queued goes out.

use super::*;

impl Conv {
    pub(super) fn is_idle(&self, shared: &Shared, now: Time) -> bool {
        let state = lock(&self.state);
        now.since(state.used) > EVICT_AFTER
            && state.conversation.is_idle(now)
            && state.receipts.is_empty()
            && state.held.is_none()
            && read(&shared.mailboxes)
                .get(&self.local)
                .is_none_or(|mailbox| mailbox.is_empty_from(&self.peer))
    }

    /// Moves what has arrived in order into the application's mailbox, as far as that has room.
    pub(super) fn deliver(&self, shared: &Shared, state: &mut State) {
        if state.gone {
            return;
        }
        self.move_in(shared, state);
        shared.traffic.room.charge(state);
    }

    fn move_in(&self, shared: &Shared, state: &mut State) {
        let Some(mailbox) = read(&shared.mailboxes).get(&self.local).cloned() else { return };
        loop {
            if state.held.is_none() {
                let Some(bytes) = state.conversation.next_bytes() else { return };
                if !mailbox.has_room(&self.peer, bytes) {
                    mailbox.report_room(&self.peer);
                    // Somebody may have made room between the two lines above.
                    if !mailbox.has_room(&self.peer, bytes) {
                        return;
                    }
                }
            }
            let held = state.held.take();
            let Some(message) = held.or_else(|| state.conversation.next_message(Timestamp::now())) else {
                return;
            };
            if let Some(message) = self.hand_in(shared, &mailbox, message) {
                // Too long for the room that there is, or the mailbox is closed.
                mailbox.report_room(&self.peer);
                state.held = self.hand_in(shared, &mailbox, message);
                if state.held.is_some() {
                    return;
                }
            }
        }
    }

    pub(super) fn hand_in(&self, shared: &Shared, mailbox: &Mailbox, message: Message) -> Option<Message> {
        let event = Event::MessageReceived {
            id: message.id,
            from: message.from,
            to: message.to,
            bytes: message.body.len() as u64,
        };
        let refused = mailbox.push(message);
        if refused.is_none() {
            shared.stats.count(Counter::MessagesReceived, 1);
            shared.publish(event);
        }
        refused
    }

    /// Sends what the conversation has to say, up to a portion. Returns whether there is more.
    pub(crate) fn pump(self: &Arc<Self>, shared: &Shared, work: &mut Work) -> bool {
        let hop = route(shared, &self.peer).filter(|hop| !hop.best().makes_wait(self));
        let now = shared.now();
        let mut state = lock(&self.state);
        let mut sent = 0;
        let waits = hop.is_none();
        if let Some(hop) = hop {
            let via = Some(hop.best().id);
            let before = std::mem::replace(&mut state.via, via);
            if before.is_some() && before != via {
                state.conversation.new_way(now);
            }
            while sent < PORTION {
                let fill = |most: usize, out: &mut Vec<u8>| state.conversation.poll_transmit(now, most, out);
                if !send_part(shared, &hop, &self.peer, fill, work) {
                    break;
                }
                sent += 1;
            }
            if sent > 0 {
                work.flush_later(hop.best());
            }
        }
        if let (Some(via), Some((delivered, lost))) = (state.via, state.conversation.outcome(now)) {
            let score = Hint::Score { destination: self.peer, next_hop: via, delivered, lost };
            shared.router.hint(score);
        }
        self.settle(shared, &mut state);
        if let Some(deadline) = state.conversation.next_deadline() {
            // What is due but has to wait stays due: it must not keep the timers busy.
            let soonest = if waits { now + WAITING } else { Time::ZERO };
            self.register_at(shared, &mut state, deadline.max(soonest));
        }
        sent == PORTION
    }

    /// Reports what has become of messages.
    pub(super) fn settle(&self, shared: &Shared, state: &mut State) {
        while let Some(event) = state.conversation.poll_event() {
            match event {
                ConversationEvent::Delivered { id, elapsed } => {
                    shared.stats.count(Counter::MessagesDelivered, 1);
                    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
                    state.tell(id, Ok(Receipt { id, elapsed_us }));
                    shared.publish(Event::MessageDelivered { id, to: self.peer, elapsed_us });
                }
                ConversationEvent::Expired { id } => {
                    shared.stats.drop(DropCause::Expired);
                    state.tell(id, Err(SendError::Expired(self.peer)));
                    state.remember_expired(id);
                    shared.publish(Event::MessageExpired { id, to: self.peer });
                }
                ConversationEvent::Room => *self.room.write() += 1,
            }
        }
        let counters = state.conversation.counters();
        shared.stats.count(Counter::Retransmits, counters.retransmits);
        shared.stats.drop_n(DropCause::Duplicate, counters.duplicates);
        shared.stats.drop_n(DropCause::Expired, counters.expired);
    }

    /// Lets the timers know of an earlier deadline. A later one is found when the earlier has come.
    pub(super) fn register(&self, shared: &Shared, state: &mut State) {
        if let Some(deadline) = state.conversation.next_deadline() {
            self.register_at(shared, state, deadline);
        }
    }

    pub(super) fn register_at(&self, shared: &Shared, state: &mut State, deadline: Time) {
        if state.registered.is_none_or(|registered| deadline < registered) {
            let mut timers = shared.traffic.timers.write();
            if let Some(registered) = state.registered {
                timers.remove(&(registered, (self.peer, self.local)));
            }
            timers.insert((deadline, (self.peer, self.local)));
            state.registered = Some(deadline);
        }
    }

    /// Takes a message for sending. Gives the body back when the queue is full.
    pub(crate) fn try_queue(&self, shared: &Shared, message: Outgoing) -> Result<MessageId, Outgoing> {
        let now = shared.now();
        let mut state = lock(&self.state);
        state.used = now;
        let ttl = Duration::from_millis(message.ttl_ms);
        let result = state.conversation.send(now, Timestamp::now(), ttl, message.body.0.clone());
        match result {
            Ok(id) => {
                shared.stats.count(Counter::MessagesQueued, 1);
                self.register(shared, &mut state);
                Ok(id)
            }
            Err(_) => Err(message),
        }
    }

    /// Has the timers' task send what was queued here.
    pub(crate) fn wake_pump(&self, shared: &Shared) {
        let mut state = lock(&self.state);
        let now = shared.now();
        self.register_at(shared, &mut state, now);
    }

    /// The count that moves on when there is room again.
    pub(crate) fn room_count(&self) -> u64 {
        *self.room.read()
    }

    /// Waits until there is room again after `seen`.
    pub(crate) async fn room_after(&self, seen: u64) {
        self.room.when(|count| (*count != seen).then_some(())).await;
    }

    /// What will become of a message that was taken for sending.
    pub(crate) fn outlook(&self, id: MessageId) -> Outlook {
        let mut state = lock(&self.state);
        if state.conversation.is_pending(&id) {
            if state.closed {
                return Outlook::Stopped;
            }
            let (sender, receiver) = oneshot::channel();
            let waiters = state.receipts.entry(id).or_default();
            // Who has lost patience and asks again must not pile up.
            waiters.retain(|waiter| !waiter.is_canceled());
            waiters.push(sender);
            return Outlook::Pending(receiver);
        }
        if state.has_expired(id) { Outlook::Expired } else { Outlook::Delivered }
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.receipts.clear();
        drop(state);
        *self.room.write() += 1;
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}
