//! What the benchmarks measure: single steps of the data path, without sockets.
