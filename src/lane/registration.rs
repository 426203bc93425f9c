//! Memory registered with a lane's queue: the staging buffer, and what the engine asks for.

use super::Lane;
use crate::backend::REGION_BYTES_MAX;
use crate::lane::shared::Command;
use crate::memory::HostSlice;
use crate::placement::Placement;

/// Memory registered with this lane's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) index: u16,
}

/// Whether a lane's queue took the staging buffer.
pub(crate) struct Registered {
    /// All of it, and transfers gain by it.
    pub(crate) all: bool,
    /// Why not, if the system refused.
    pub(crate) refused: Option<std::io::Error>,
}

impl<P: Placement> Lane<P> {
    /// Registers the staging buffer; without, transfers through it pin its pages each time.
    pub(super) fn register_staging(&mut self) -> Registered {
        // A device's memory is nothing to the kernel.
        let Some(region) = self.shared.staging.region().host() else {
            return Registered { all: false, refused: None };
        };
        let mut all = true;
        for (index, start) in (0..region.length).step_by(REGION_BYTES_MAX).enumerate() {
            let length = (region.length - start).min(REGION_BYTES_MAX);
            let part = HostSlice { pointer: region.pointer.offset(start), length };
            let Ok(index) = u16::try_from(index) else { return Registered { all: false, refused: None } };
            match self.register(index, part) {
                Ok(gained) => all &= gained,
                Err(error) => return Registered { all: false, refused: Some(error) },
            }
        }
        Registered { all, refused: None }
    }

    pub(super) fn register(&mut self, index: u16, region: HostSlice) -> std::io::Result<bool> {
        let gained = self.queue.register(index, region)?;
        if gained {
            let start = region.pointer.addr();
            self.regions.push(Region { start, end: start + region.length, index });
        }
        Ok(gained)
    }

    pub(super) fn take_commands(&mut self) {
        while let Some(command) = self.shared.lanes[self.index].commands.pop() {
            match command {
                Command::Register { index, region, reply } => {
                    // A caller that no longer waits has given up on the answer, not on the effect.
                    drop(reply.send(self.register(index, region)));
                }
                Command::Prepare { device, reply } => {
                    drop(reply.send(self.prepare_copies(device).map(|()| true)));
                }
                Command::Unregister { index, reply } => {
                    self.regions.retain(|region| region.index != index);
                    self.queue.unregister(index);
                    drop(reply.send(Ok(true)));
                }
            }
        }
    }
}
