//! The web page in a real browser, before a real bridge, hub and node.

mod access;
mod live;
mod looks;
mod runs;
mod scene;
