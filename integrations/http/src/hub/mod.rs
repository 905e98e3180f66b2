//! The bridge's side of the hub.
