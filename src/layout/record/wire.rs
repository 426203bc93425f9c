//! Little-endian fields one after another, into and out of a slice, without ever running past it.

/// Reads fields from the front of a slice.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

/// Writes fields to the front of a slice; `None` when it is full.
pub(crate) struct FieldsMut<'a> {
    rest: &'a mut [u8],
}

impl<'a> FieldsMut<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> FieldsMut<'a> {
        FieldsMut { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, field: &[u8]) -> Option<()> {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(field.len())?;
        place.copy_from_slice(field);
        self.rest = rest;
        Some(())
    }

    pub(crate) fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u128(&mut self, value: u128) -> Option<()> {
        self.bytes(&value.to_le_bytes())
    }
}
