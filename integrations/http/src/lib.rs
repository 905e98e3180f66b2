//! HTTP, WebSocket and SSE bridge on the secmon client library.
//!
//! The room stands so that the workspace has its final shape; nothing lives here yet. It may depend
//! on `secmon-client` and `secmon-protocol`, never on the hub or the node.
