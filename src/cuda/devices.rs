//! The devices of one store, for whoever copies from and to them.

use std::io;

use super::contexts::Contexts;
use super::copier::CudaCopier;
use super::library::Library;
use crate::error::Result;
use crate::log::Logger;
use crate::memory::{Copier, Copiers, Stretch};
use crate::sync::Arc;
use crate::sys::event::Event;

/// The devices of one store. Nothing is loaded before the first copier is asked for.
#[derive(Debug)]
pub struct Devices(Arc<Contexts>);

impl Devices {
    /// For a store with this staging buffer, on the host or a device, which outlives all copiers.
    pub fn new(staging: Stretch, logger: &Logger) -> Devices {
        Devices(Arc::new(Contexts::new(staging, logger)))
    }

    /// For the same store with another staging buffer. What was said of a device is not said again.
    pub fn with_staging(&self, staging: Stretch) -> Devices {
        Devices(Arc::new(self.0.with_staging(staging)))
    }

    /// Takes the context of a device, pins the staging buffer and loads the kernels, so that no transfer has to.
    ///
    /// # Errors
    /// `Unsupported`, naming what is missing; what the driver answers.
    pub fn prepare(&self, device: u16) -> Result<()> {
        self.0.device(device).map(drop)
    }

    /// Why checksums cannot be computed on one of the devices that were asked about or used; `None`: nothing is known against it.
    pub fn why_no_sums(&self) -> Option<String> {
        self.0.why_no_sums()
    }
}

impl Copiers for Devices {
    fn copier(&self, waker: Arc<Event>) -> io::Result<Box<dyn Copier>> {
        let library = Library::load().map_err(io::Error::other)?;
        Ok(Box::new(CudaCopier::new(library, Arc::clone(&self.0), waker)))
    }

    fn can_sum(&self, device: u16) -> bool {
        self.0.can_sum(device)
    }
}
