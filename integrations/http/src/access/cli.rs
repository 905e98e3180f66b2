//! `secmon http token`.

use std::path::Path;

use clap::Subcommand;

use super::tokens::TokenError;

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once
    Add {
        /// What to call it
        name: String,
    },
    /// List tokens, without what they are
    List,
    /// End a token at once
    Revoke {
        /// Which
        name: String,
    },
}

/// Does it.
///
/// # Errors
/// See [`super::tokens`].
pub fn token(_command: TokenCommand, _state_dir: &Path) -> Result<(), TokenError> {
    Err(TokenError("not built".to_owned()))
}
