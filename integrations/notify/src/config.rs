//! The configuration that all notifying roles share: `[notify]`, and the rules of a destination.

use serde::Deserialize;

/// `[notify]`: for all destinations of a role.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifySection {}

/// What every destination has beside what its service needs: rules, limits, quiet hours, templates. Flattened into a
/// service's own section by naming it there as `notify`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationSection {}
