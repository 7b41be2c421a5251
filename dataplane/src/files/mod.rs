//! Files from memory: names, an index of them, and bytes in memory that we own. Never touches a disk per request.

//! builds a second catalogue of the next [`GenerationId`] beside the first, so a transfer keeps the bytes that it began with.

pub mod arena;
pub mod catalogue;
mod index;
pub mod name;
pub mod netascii;

pub use arena::{Arena, ArenaBuilder, ArenaError, PageKind};
pub use catalogue::{BuildError, Catalogue, CatalogueBuilder, Denied, FileId, FileRecord, GenerationId, Lookup};
pub use name::{NAME_MAX, Name, NameError, NameOptions, escape};
