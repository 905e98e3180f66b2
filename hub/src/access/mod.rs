//! Who may do what: the rules of the configuration, and what they grant to one peer of the socket.
//!
//! `section` is what the file says, `names` asks the system for the numbers of whom it names, `rules` finds those
//! that apply to a peer, and `grants` answers what they let it do; `kind` is the table of what each request needs.
//! `reach` finds who cannot even get to the socket. All but `names` and `reach` are pure. What is asked about which node is for whoever knows the node to check: the connection or the core.

mod grants;
pub mod kind;
mod names;
mod reach;
mod rules;
mod section;

pub use self::{
    grants::{Grants, in_the_log},
    kind::{Needs, RequestKind},
    rules::{Access, Peer},
    section::{AccessSection, Account},
};
pub(crate) use self::{
    names::{groups, peer_groups, user},
    reach::warn_of_closed_doors,
    section::check,
};
