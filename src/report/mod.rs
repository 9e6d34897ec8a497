//! Events and plans as text, JSON and graphs.

pub mod graph;
