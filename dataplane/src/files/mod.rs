//! Files from memory: a tree read once into memory that we own, and an index of its names. Never touches a disk after the load,
//! never maps a source file, never walks a path per request.
//!
//! Where memory is short, [`load_within`] reads what comes first and leaves the rest in a [`Library`], from which control reads single
//! files when they are asked for.
//!
//! [`load`] turns a directory into an immutable [`Catalogue`] and a [`LoadReport`]; [`Name`] is what a request asks for, a
//! [`SumTable`] gives the checksums of a file's blocks without reading them. [`reload`] builds a second catalogue of the next [`GenerationId`]
//! beside the first, so a transfer keeps the bytes that it began with, and reads from the disk only what has changed.

pub mod arena;
pub mod budget;
pub mod catalogue;
mod fill;
mod index;
mod listing;
pub mod loader;
pub mod name;
pub mod netascii;
pub mod pattern;
mod read;
pub mod report;
mod reuse;
mod scan;
mod sources;
mod split;
mod sum_pass;
pub mod sums;
pub mod survey;
mod tally;
mod version;
pub mod volume;

pub use arena::{Arena, ArenaBuilder, ArenaError, PageKind, available_bytes};
pub use budget::Allowance;
pub use catalogue::{
    BuildError, Catalogue, CatalogueBuilder, Denied, FileId, FileRecord, FileView, GenerationId, Lookup,
};
pub use listing::Listing;
pub use loader::{LoadError, LoadOptions, Loaded, Reload, fingerprint, load, load_within, reload};
pub use name::{NAME_MAX, Name, NameError, NameOptions, escape};
pub use pattern::{Pattern, PatternError};
pub use report::{LoadReport, Phase, Progress, Reason};
pub use reuse::{Changes, Fingerprint};
pub use sums::{BLOCK_SIZES, SumTable};
pub use survey::{Survey, survey};
pub use tally::FileTally;
pub use volume::{Library, VolumeError};
