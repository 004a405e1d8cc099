//! The time for which conversations stay.

use super::UNPROVEN;
use crate::VirtualRuntime;
use crate::node::conversations::memory_budget::tests::{address, session, shared};
use crate::node::state::locks::read;
use crate::session::Standing;
use std::time::Duration;

#[test]
fn a_request_for_a_session_keeps_its_conversation_for_the_whole_time_however_old_the_node_is() {
    let runtime = VirtualRuntime::new();
    let shared = runtime.enter(shared);
    runtime.advance(Duration::from_secs(3600));
    runtime.enter(|| {
        let local = shared.identity.address();
        assert!(session(&shared, (&local, &address(7)), 1, Standing::default()).is_some());
        let count = || read(&shared.conversations.by_ends).len();
        shared.conversations.sweep_at(&shared, shared.now() + UNPROVEN - Duration::from_secs(1));
        assert_eq!(count(), 1, "its response would be another one for each repetition");
        shared.conversations.sweep_at(&shared, shared.now() + UNPROVEN);
        assert_eq!(count(), 0);
    });
}
