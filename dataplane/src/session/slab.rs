//! Many equal cells in memory that is mapped once, touched at once and never grows; hugepages are asked for, so that a million
//! sessions in random order cost no page walk each. Knows nothing of what the cells mean.

use bytemuck::Pod;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use memmap2::{Advice, MmapMut};

/// `len` cells, zero at first.
#[derive(Debug)]
pub(super) struct Slab<T> {
    map: MmapMut,
    cells: PhantomData<T>,
}

impl<T: Pod> Slab<T> {
    /// Maps and touches the memory of `len` cells.
    ///
    /// # Panics
    /// When the machine does not give that much memory, as any allocation does.
    #[cold]
    pub(super) fn zeroed(len: u32) -> Self {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4_096, "a mapping begins on a page") };
        let bytes = (len as usize * size_of::<T>()).max(1);
        let mut map = MmapMut::map_anon(bytes)
            .unwrap_or_else(|error| panic!("cannot map {bytes} bytes for the session table: {error}"));
        // Only advice: where there are no transparent hugepages, ordinary pages do.
        let _ = map.advise(Advice::HugePage);
        // Linux 5.14 touches all pages in one call; older ones take a write to each.
        if map.advise(Advice::PopulateWrite).is_err() {
            map.fill(0);
        }
        Self { map, cells: PhantomData }
    }

    /// Bytes of the cells.
    pub(super) fn bytes(&self) -> usize {
        self.map.len()
    }
}

impl<T: Pod> Deref for Slab<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map)
    }
}

impl<T: Pod> DerefMut for Slab<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_zero_and_keep_what_is_written() {
        let mut slab = Slab::<[u32; 16]>::zeroed(70_000);
        assert_eq!(slab.len(), 70_000);
        assert_eq!(slab.bytes(), 70_000 * 64);
        assert!(slab.iter().all(|cell| *cell == [0; 16]));
        slab[69_999][15] = 7;
        assert_eq!(slab[69_999][15], 7);
        assert_eq!(slab[0].as_ptr().addr() % 64, 0, "a cell is one cache line");
    }
}
