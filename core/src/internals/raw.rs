//! A link without a node behind it: whoever holds it says what it likes to its neighbour.
