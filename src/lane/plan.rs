//! Which memory a request uses as it is, and how large requests are: the only judge of "direct or staged".

use std::ops::Range;

use super::registration::Region;
use crate::backend::{Medium, Reach};
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::memory::Stretch;
use crate::memory::stretch::for_each_part;
use crate::sys::file::DirectAlignment;

/// Bytes of one transfer that goes direct, of a record of `padded_bytes`: `least`, or more for a large record, as a
/// device serves few large requests faster than many small ones. Still so many pieces that they overlap.
pub(super) fn piece_bytes(least: u64, padded_bytes: u64, medium: Medium) -> u64 {
    /// A large record has at least this many.
    const PIECES_MIN: u64 = 16;
    /// Gains nothing above, and checksums would wait longer for the last one.
    const PIECE_BYTES_MAX: u64 = 2 << 20;
    /// A large record from a server.
    const SERVER_PIECES: u64 = 8;
    const SERVER_PIECE_BYTES_MAX: u64 = 8 << 20;
    match medium {
        // The next reader of the bytes is this processor, from its cache.
        Medium::Memory => least,
        // A large record is spread over a few connections; a small one is one request.
        Medium::Server => (padded_bytes / SERVER_PIECES / least * least).clamp(least, SERVER_PIECE_BYTES_MAX),
        Medium::Device => (padded_bytes / PIECES_MIN / least * least).clamp(least, PIECE_BYTES_MAX),
    }
}

/// Bytes that a lane has under way at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of reads: from here on it takes no more gets and pushes no more of those it has.
    pub(super) read_bytes_max: usize,
    /// Of one get.
    pub(super) get_bytes_max: usize,
    /// Of writes: from here on it pushes no more of its puts.
    pub(super) written_bytes_max: usize,
}

/// The bounds for that medium.
pub(super) fn bounds(medium: Medium) -> Bounds {
    match medium {
        // Reads: enough for devices that need a deep queue. One get: enough for a device's full speed, and little enough
        // that a get which comes behind a large one finds the device's queue short. Writes: enough to cover a device's
        // latency; more would only queue up before the next get.
        Medium::Device | Medium::Memory => {
            Bounds { read_bytes_max: 128 << 20, get_bytes_max: 16 << 20, written_bytes_max: 8 << 20 }
        }
        // Requests of a server do not queue behind each other, and a get waits for no put: what bounds them is the number
        // of connections. The bytes are the caller's, so these bounds cost no memory.
        Medium::Server => {
            Bounds { read_bytes_max: 512 << 20, get_bytes_max: 64 << 20, written_bytes_max: 512 << 20 }
        }
    }
}

/// Adds the caller's memory for the payload bytes `body` to `slices`, if a request may use it as it is: within the
/// backend's reach, aligned as the file asks. `origin` is the payload offset of the first stretch. Else `slices` is
/// left empty.
pub(super) fn add_direct(
    stretches: &[Stretch],
    origin: u64,
    body: &Range<u64>,
    rules: &Rules<'_>,
    slices: &mut Vec<Stretch>,
) -> bool {
    let (Ok(from), Ok(to)) = (usize::try_from(body.start - origin), usize::try_from(body.end - origin))
    else {
        return false;
    };
    let mut fits = body.end - body.start <= rules.reach.request_bytes_max;
    for_each_part(stretches, from, to, |stretch| {
        // One more stretch may follow: the tail block and trailer.
        fits &= slices.len() + 1 < rules.reach.slices_max && rules.allow(&stretch);
        if fits {
            slices.push(stretch);
        }
    });
    if fits && rules.reach.registered_only {
        fits = region_of(rules.regions, slices).is_some();
    }
    if !fits {
        slices.clear();
    }
    fits
}

/// Whether each checksum block of a request lies in one stretch. The request begins with a block.
pub(super) fn are_whole_blocks(slices: &[Stretch]) -> bool {
    slices.split_last().is_none_or(|(_, others)| {
        others.iter().all(|slice| slice.length().is_multiple_of(CHECKSUM_BLOCK_BYTES))
    })
}

/// What a request to one file is judged by.
pub(super) struct Rules<'a> {
    pub(super) reach: Reach,
    /// What the file asks of direct transfers; `None`: it is buffered, anything goes.
    pub(super) alignment: Option<DirectAlignment>,
    /// Memory registered with the lane's queue.
    pub(super) regions: &'a [Region],
}

impl Rules<'_> {
    fn allow(&self, stretch: &Stretch) -> bool {
        let reached = match stretch {
            Stretch::Host(_) => self.reach.host,
            Stretch::Device(_) => self.reach.device,
        };
        reached
            && self.alignment.is_none_or(|alignment| {
                let memory = match stretch {
                    Stretch::Host(_) => alignment.memory,
                    Stretch::Device(_) => alignment.memory.max(self.reach.device_alignment),
                };
                stretch.addr().is_multiple_of(memory as usize)
                    && stretch.length().is_multiple_of(alignment.offset as usize)
            })
    }
}

/// The registered region that holds all of `slices`, if one does. Only host memory is registered with queues.
pub(super) fn region_of(regions: &[Region], slices: &[Stretch]) -> Option<u16> {
    let holds = |region: &&Region| {
        slices.iter().all(|stretch| {
            stretch.host().is_some_and(|slice| {
                region.start <= slice.pointer.addr() && slice.pointer.addr() + slice.length <= region.end
            })
        })
    };
    regions.iter().find(holds).map(|region| region.index)
}

/// The checksum blocks that begin in `range`: index and payload bytes of each, cut at `end`.
pub(super) fn blocks_in(range: Range<u64>, end: u64) -> impl Iterator<Item = (usize, Range<u64>)> {
    let block = CHECKSUM_BLOCK_BYTES as u64;
    let first = range.start / block;
    let last = range.end.min(end).div_ceil(block);
    (first..last).map(move |index| (index as usize, index * block..(index * block + block).min(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{AlignedBuffer, DevicePtr, DeviceSlice};

    const PAGE: usize = 4096;
    const ALIGNED: DirectAlignment = DirectAlignment { memory: 512, offset: 4096 };

    fn rules(reach: Reach) -> Rules<'static> {
        Rules { reach, alignment: Some(ALIGNED), regions: &[] }
    }

    fn is_direct(stretches: &[Stretch], body: Range<u64>, rules: &Rules<'_>) -> bool {
        let mut slices = Vec::new();
        let direct = add_direct(stretches, 0, &body, rules, &mut slices);
        let bytes: usize = slices.iter().map(Stretch::length).sum();
        assert_eq!(bytes as u64, if direct { body.end - body.start } else { 0 });
        direct
    }

    /// A request uses memory as it is only where the file's alignment allows it, in address and length.
    #[test]
    fn memory_goes_direct_where_the_file_allows_it() {
        let buffer = AlignedBuffer::new(8 * PAGE).expect("memory");
        let host = |from: usize, to: usize| Stretch::Host(buffer.host_slice(from, to));
        let rules = rules(Reach::HOST);
        assert!(is_direct(&[host(0, 4 * PAGE)], 0..4 * PAGE as u64, &rules));
        assert!(is_direct(&[host(512, 512 + PAGE), host(0, PAGE)], 0..2 * PAGE as u64, &rules));
        assert!(!is_direct(&[host(8, 8 + PAGE)], 0..PAGE as u64, &rules));
        assert!(!is_direct(&[host(0, 100), host(PAGE, 2 * PAGE)], 0..PAGE as u64, &rules));
        let buffered = Rules { alignment: None, ..rules };
        assert!(is_direct(&[host(8, 9), host(11, 8 * PAGE)], 0..7 * PAGE as u64, &buffered));
    }

    /// What a backend cannot reach goes through the staging buffer: other memory, too many stretches, too many bytes,
    /// memory that is not registered.
    #[test]
    fn what_is_out_of_reach_is_staged() {
        let buffer = AlignedBuffer::new(8 * PAGE).expect("memory");
        let host = |from: usize, to: usize| Stretch::Host(buffer.host_slice(from, to));
        let pages = [host(0, PAGE), host(2 * PAGE, 3 * PAGE), host(4 * PAGE, 5 * PAGE)];
        let device =
            [Stretch::Device(DeviceSlice { pointer: DevicePtr::new(1 << 40), length: PAGE, device: 0 })];
        let all = 0..3 * PAGE as u64;
        assert!(is_direct(&pages, all.clone(), &rules(Reach { slices_max: 4, ..Reach::HOST })));
        assert!(!is_direct(&pages, all.clone(), &rules(Reach { slices_max: 3, ..Reach::HOST })));
        assert!(!is_direct(&pages, all.clone(), &rules(Reach { request_bytes_max: 8192, ..Reach::HOST })));
        assert!(!is_direct(&pages, all.clone(), &rules(Reach { host: false, ..Reach::HOST })));
        assert!(!is_direct(&device, 0..PAGE as u64, &rules(Reach::HOST)));
        assert!(is_direct(&device, 0..PAGE as u64, &rules(Reach { device: true, ..Reach::HOST })));

        let only_registered = Reach { registered_only: true, ..Reach::HOST };
        assert!(!is_direct(&pages, all.clone(), &rules(only_registered)));
        let start = pages[0].addr();
        let regions = [Region { start, end: start + 5 * PAGE, index: 3 }];
        let registered = Rules { reach: only_registered, alignment: None, regions: &regions };
        assert!(is_direct(&pages, all, &registered));
        assert!(!is_direct(&[host(5 * PAGE, 6 * PAGE)], 0..PAGE as u64, &registered));
        assert_eq!(region_of(&regions, &pages), Some(3));
    }

    /// Pieces begin at checksum blocks, whatever the record; small records and memory keep the smallest piece.
    #[test]
    fn pieces_are_whole_checksum_blocks() {
        let least = 256 << 10;
        for (padded_bytes, expected) in
            [(4096, least), (4 << 20, least), (16 << 20, 1 << 20), (32 << 20, 2 << 20), (1 << 40, 2 << 20)]
        {
            assert_eq!(piece_bytes(least, padded_bytes, Medium::Device), expected);
            assert_eq!(piece_bytes(least, padded_bytes, Medium::Memory), least);
        }
        for padded_bytes in (0..100 << 20).step_by(1_234_944) {
            assert_eq!(piece_bytes(least, padded_bytes, Medium::Device) % CHECKSUM_BLOCK_BYTES as u64, 0);
        }
    }

    /// Checksum blocks tile the payload exactly, the last one cut at its end.
    #[test]
    fn blocks_tile_the_payload() {
        let block = CHECKSUM_BLOCK_BYTES as u64;
        let end = 3 * block + 5;
        let all: Vec<_> = blocks_in(0..4 * block, end).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[3], (3, 3 * block..end));
        let mut parts: Vec<_> = blocks_in(0..2 * block, end).collect();
        parts.extend(blocks_in(2 * block..4 * block, end));
        assert_eq!(parts, all);
    }
}
