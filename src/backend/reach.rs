//! What a backend can move without a copy by the processor.

/// Most memory stretches of one request: `IOV_MAX` of Linux (`readv(2)`).
pub const IO_SLICES_MAX: usize = 1024;

/// The one statement of what goes direct; `lane/plan.rs` judges by it and nobody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// From and to host memory as it is. Where not, host memory goes through the staging buffer.
    pub host: bool,
    /// From and to a device's memory as it is.
    pub device: bool,
    /// What addresses and lengths of a device's memory are multiples of, on files with O_DIRECT, in bytes.
    pub device_alignment: u32,
    /// Stretches of memory that one request may have.
    pub slices_max: usize,
    /// Only memory that was registered with the queue, each request within one region.
    pub registered_only: bool,
    /// Fewest bytes of a read that is cut, where a request costs much whatever its length; 0: nothing speaks for more than the
    /// lanes' own measure.
    pub read_bytes_min: u64,
    /// Bytes of the largest request.
    pub request_bytes_max: u64,
    /// Whether a write is one transfer, however many stretches of memory it has. If it is, a kill leaves all or nothing of a direct
    /// one, and of one through the page cache its beginning. If not, a kill may leave any of its stretches and not the others.
    pub writes_whole: bool,
    /// Whether reads bring the checksums of their blocks along, if they are asked to.
    pub sums: bool,
}

impl Reach {
    /// Everything on the host, as the system calls of files have it: `IOV_MAX` stretches, and bytes below what one
    /// `read(2)` or `write(2)` moves (2,147,479,552).
    pub const HOST: Reach = Reach {
        host: true,
        device: false,
        device_alignment: 1,
        slices_max: IO_SLICES_MAX,
        registered_only: false,
        read_bytes_min: 0,
        request_bytes_max: 1 << 30,
        writes_whole: true,
        sums: false,
    };
}
