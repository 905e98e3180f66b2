//! Hands queued notices to their services: one task per destination, in order, until each is taken or set aside.
