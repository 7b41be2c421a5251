//! What a load would serve, without reading a file: names, sizes, and what is denied and why. Decided by the same pass over the tree.

use super::catalogue::{Catalogue, CatalogueBuilder, FileId, GenerationId, Lookup};
use super::loader::{LoadError, canonical_root};
use super::name::NameOptions;
use super::report::LoadReport;
use super::scan::{Found, scan};
use std::path::Path;

/// The names of a tree.
#[derive(Debug)]
pub struct Listing {
    /// All files are empty in it.
    names: Catalogue,
    sizes: Vec<u64>,
    report: LoadReport,
}

impl Listing {
    /// Walks the tree below `root`.
    ///
    /// # Errors
    /// [`LoadError`], as a load would give it.
    pub fn of(root: &Path, options: NameOptions) -> Result<Self, LoadError> {
        let mut report = LoadReport::new();
        let scan = scan(&canonical_root(root)?, options, &mut report, &mut |_| {})?;
        let mut builder = CatalogueBuilder::new(GenerationId::default(), options, 0, false)?;
        let mut ids = Vec::with_capacity(scan.files.len());
        for _ in &scan.files {
            ids.push(builder.add_file(&[])?);
        }
        for (name, found) in &scan.names {
            match *found {
                Found::Denied(denied) => builder.deny(name, denied)?,
                Found::Content(number) => builder.add_name(name, ids[number])?,
            }
        }
        let sizes = scan.files.iter().map(|file| file.size).collect();
        Ok(Self { names: builder.finish()?, sizes, report })
    }

    /// What a normal name stands for: see [`Catalogue::lookup_normal`].
    #[must_use]
    pub fn lookup_normal(&self, name: &[u8]) -> Lookup {
        self.names.lookup_normal(name)
    }

    /// Length of a file in bytes.
    #[must_use]
    pub fn size(&self, file: FileId) -> u64 {
        usize::try_from(file.index()).ok().and_then(|index| self.sizes.get(index)).copied().unwrap_or_default()
    }

    /// What is left out, and why.
    #[must_use]
    pub const fn report(&self) -> &LoadReport {
        &self.report
    }
}
