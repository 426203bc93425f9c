//! What is measured: sizes of objects, sizes of batches, and how much of each.

use std::time::Duration;

use crate::output::Failure;

/// Rounds that count, behind one that warms up.
pub const ROUNDS: usize = 3;
/// Measurements of a round: put and get, by the library and bare.
const PHASES: u32 = 4;
/// Objects of one round at most: of small objects fewer bytes are moved.
const OBJECTS_MAX: u64 = 2048;
/// The same in a bucket, where each costs a request to be removed as well.
const OBJECTS_IN_BUCKET_MAX: u64 = 256;
/// Largest object and largest batch that can be asked for.
const OBJECT_BYTES_MAX: u64 = 1 << 30;
const BATCH_MAX: u64 = 4096;
/// Most bytes of one round.
const ROUND_BYTES_MAX: u64 = 16 << 30;

/// Arguments that say what is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Sizes of objects
    #[arg(long, value_name = "BYTES", value_delimiter = ',', value_parser = size, default_value = "64K,1M,4M,16M")]
    pub sizes: Vec<u64>,
    /// Objects of a batch
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = batch, default_value = "1,8")]
    pub batches: Vec<u64>,
    /// Bytes that one round moves at most each way; a pool of as many is made
    #[arg(long, value_name = "BYTES", value_parser = round_bytes, default_value = "128M")]
    pub bytes: u64,
    /// Seconds that the measurements take at most, all together
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400), default_value_t = 20)]
    pub seconds: u64,
}

/// One size and one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Bytes of an object.
    pub object_bytes: u64,
    /// Objects of a batch.
    pub batch: u64,
    /// Objects of a round, a multiple of the batch.
    pub objects: u64,
}

/// All that is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which they are printed.
    pub cells: Vec<Cell>,
    /// Cells that are left out, as one batch has more bytes than a round may.
    pub left_out: usize,
    /// Longest time of one measurement.
    pub phase_time_max: Duration,
}

impl Plan {
    /// What is wanted comes to, of a store in a bucket or not.
    ///
    /// # Errors
    /// Nothing is left to be measured.
    pub fn new(wanted: &Wanted, is_in_bucket: bool) -> Result<Plan, Failure> {
        let objects_max = if is_in_bucket { OBJECTS_IN_BUCKET_MAX } else { OBJECTS_MAX };
        let sorted = |numbers: &[u64]| {
            let mut numbers = numbers.to_vec();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let (sizes, batches) = (sorted(&wanted.sizes), sorted(&wanted.batches));
        let mut cells = Vec::new();
        for &object_bytes in &sizes {
            for &batch in &batches {
                let objects = (wanted.bytes / object_bytes).min(objects_max.max(batch)) / batch * batch;
                if objects > 0 {
                    cells.push(Cell { object_bytes, batch, objects });
                }
            }
        }
        let left_out = sizes.len() * batches.len() - cells.len();
        if cells.is_empty() {
            return Err(Failure::new("--bytes is less than the smallest batch has; raise it"));
        }
        let phases = PHASES * (ROUNDS as u32 + 1) * u32::try_from(cells.len()).unwrap_or(u32::MAX);
        let phase_time_max = Duration::from_secs(wanted.seconds) / phases.max(1);
        Ok(Plan { cells, left_out, phase_time_max })
    }

    /// The sizes, each once.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.cells.iter().map(|cell| cell.object_bytes).collect();
        sizes.dedup();
        sizes
    }

    /// Most objects of a round of this size.
    pub fn objects_of(&self, size: u64) -> u64 {
        self.of(size).map(|cell| cell.objects).max().unwrap_or(0)
    }

    /// The cells of a size.
    pub fn of(&self, size: u64) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.object_bytes == size)
    }
}

/// A number of bytes: `4096`, `64K`, `1MiB`, in powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err("a number, with K, M or G behind it or nothing".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "a number, with K, M or G behind it or nothing".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too many bytes".to_owned())
}

fn within(value: u64, most: u64, what: &str) -> Result<u64, String> {
    if (1..=most).contains(&value) { Ok(value) } else { Err(format!("{what} from 1 to {most}")) }
}

fn size(text: &str) -> Result<u64, String> {
    within(bytes(text)?, OBJECT_BYTES_MAX, "bytes of an object")
}

fn round_bytes(text: &str) -> Result<u64, String> {
    within(bytes(text)?, ROUND_BYTES_MAX, "bytes of a round")
}

fn batch(text: &str) -> Result<u64, String> {
    within(text.parse().map_err(|_| "a number".to_owned())?, BATCH_MAX, "objects of a batch")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(sizes: &[u64], batches: &[u64], bytes: u64) -> Wanted {
        Wanted { sizes: sizes.to_vec(), batches: batches.to_vec(), bytes, seconds: 16 }
    }

    /// No round moves more than it may, each is made of whole batches, and what does not fit is left out.
    #[test]
    fn rounds_are_bounded_in_bytes_and_time() {
        let plan = Plan::new(&wanted(&[1 << 20, 4096], &[8, 3, 8], 10 << 20), false).unwrap();
        let found: Vec<_> =
            plan.cells.iter().map(|cell| (cell.object_bytes, cell.batch, cell.objects)).collect();
        assert_eq!(found, [(4096, 3, 2046), (4096, 8, 2048), (1 << 20, 3, 9), (1 << 20, 8, 8)]);
        assert_eq!(plan.phase_time_max * 4 * 4 * 4, Duration::from_secs(16));
        let plan = Plan::new(&wanted(&[1 << 20], &[1, 16], 10 << 20), false).unwrap();
        assert_eq!((plan.cells.len(), plan.left_out), (1, 1));
        assert!(Plan::new(&wanted(&[1 << 20], &[16], 10 << 20), false).is_err());
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(bytes("64K"), Ok(65_536));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("12"), Ok(12));
        for wrong in ["", "K", "1X", "-1", "1 M", "99999999999999999999", "17179869184G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
