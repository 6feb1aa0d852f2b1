//! Black-box tests of knarr, one module per point of what it promises. Every test starts an engine of its own.

mod containers;
