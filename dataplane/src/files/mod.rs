//! Files from memory: a tree read once into memory that we own, and an index of its names. Never touches a disk after the load,
//! never maps a source file, never walks a path per request.
//!
//! [`load`] turns a directory into an immutable [`Catalogue`] and a [`LoadReport`]; [`Name`] is what a request asks for, a
//! [`SumTable`] gives the checksums of a file's blocks without reading them. A reload builds a second catalogue of the next [`GenerationId`] beside the first, so a transfer keeps the bytes that it began with.

pub mod arena;
pub mod catalogue;
mod fill;
mod index;
mod listing;
pub mod loader;
pub mod name;
pub mod netascii;
mod read;
pub mod report;
mod scan;
mod sum_pass;
pub mod sums;
pub mod survey;
mod tally;

pub use arena::{Arena, ArenaBuilder, ArenaError, PageKind};
pub use catalogue::{
    BuildError, Catalogue, CatalogueBuilder, Denied, FileId, FileRecord, FileView, GenerationId, Lookup,
};
pub use listing::Listing;
pub use loader::{LoadError, LoadOptions, load};
pub use name::{NAME_MAX, Name, NameError, NameOptions, escape};
pub use report::{LoadReport, Phase, Progress, Reason};
pub use sums::{BLOCK_SIZES, SumTable};
pub use survey::{Survey, survey};
pub use tally::FileTally;
