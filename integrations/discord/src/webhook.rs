//! Any webhook: ECS as JSON, signed.
