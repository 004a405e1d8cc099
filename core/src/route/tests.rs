//! Tests of the router: alone, and many of them under a virtual clock.

mod anchors;
mod away;
mod faults;
mod harness;
mod hostile;
mod net;
mod origins;
mod pacing;
mod property;
mod quotas;
mod reserves;
mod rules;
mod scoring;
mod seqno_requests;
mod verifying;
