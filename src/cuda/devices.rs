//! The devices of one store, for whoever copies from and to them.

use std::io;

use super::caller::get_ready;
use super::contexts::Contexts;
use super::copier::CudaCopier;
use super::library::Library;
use crate::error::Result;
use crate::log::Logger;
use crate::memory::{Copier, Copiers, HostSlice};
use crate::sync::Arc;
use crate::sys::event::Event;

/// The devices of one store. Nothing is loaded before the first copier is asked for.
#[derive(Debug)]
pub struct Devices(Arc<Contexts>);

impl Devices {
    /// For a store with this staging buffer, which outlives all copiers.
    pub fn new(staging: HostSlice, logger: &Logger) -> Devices {
        Devices(Arc::new(Contexts::new(staging, logger)))
    }

    /// Takes the context of a device and pins the staging buffer, so that no transfer has to.
    ///
    /// # Errors
    /// `Unsupported`, naming what is missing; what the driver answers.
    pub fn prepare(&self, device: u16) -> Result<()> {
        self.0.context(device).map(drop)
    }

    /// Makes the primary context of a device ready for streams of the caller's.
    ///
    /// # Errors
    /// As for [`Devices::prepare`].
    pub fn prepare_streams(&self, device: u16) -> Result<()> {
        let (library, context) = self.0.context(device)?;
        get_ready(library, context)
    }
}

impl Copiers for Devices {
    fn copier(&self, waker: Arc<Event>) -> io::Result<Box<dyn Copier>> {
        let library = Library::load().map_err(io::Error::other)?;
        Ok(Box::new(CudaCopier::new(library, Arc::clone(&self.0), waker)))
    }
}
