//! One function for each fuzz target: hostile bytes go in, nothing may panic.
