//! Taking fixed-size fields off the front of a byte slice of known length.

/// The bytes that are left to take.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes. Layouts are constants and the caller has checked the whole length, so they are there.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) =
            self.0.split_first_chunk::<N>().expect("the caller checked the whole structure's fixed length");
        self.0 = rest;
        *field
    }
}
