//! A network of many nodes in one process under a virtual clock (feature `sim`).
