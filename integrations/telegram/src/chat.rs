//! A chat that is told what happens.
