//! Tests of a router alone. Those of many routers under a virtual clock are in the simulator.

mod anchors;
mod away;
mod harness;
mod hostile;
mod origins;
mod pacing;
mod quotas;
mod reserves;
mod rules;
mod scoring;
mod seqno_requests;
mod verifying;
