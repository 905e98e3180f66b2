mod entries;
mod file;

use super::*;
