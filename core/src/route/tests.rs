//! Tests of the router: alone, and many of them under a virtual clock.

mod desk;
mod faults;
mod hostile;
mod net;
mod property;
mod rules;
mod topology;
