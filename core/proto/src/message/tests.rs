//! Two conversations and a bad line between them, under a virtual clock.

mod attributes;
mod cost;
mod delivery;
mod flow;
mod hostile;
mod journaled;
mod model;
mod outcome;
mod overtaken;
mod pair;
mod recovery;
mod restart;
mod speed;
