//! A device's memory that cuFile knows: its transfers need no copy through buffers of cuFile's own.

use std::sync::Arc;

use super::driver::Driver;
use super::errors::check;
use super::file::address_of;
use crate::memory::Stretch;

/// Memory that is registered, for requests anywhere inside it; deregistered when dropped, before it is freed.
pub struct Region {
    memory: Stretch,
    driver: Arc<Driver>,
}

impl Region {
    /// Registers memory that stays as it is for as long as this lives.
    ///
    /// # Errors
    /// Why cuFile does not take it, in words: a GPU can show a storage device only so much of its memory (BAR1). Transfers go on
    /// without.
    pub fn of(driver: &Arc<Driver>, memory: Stretch) -> Result<Region, String> {
        let library = driver.library;
        let (Some(register), Some(_)) = (library.register_memory, library.deregister_memory) else {
            return Err(String::from("this libcufile has no cuFileBufRegister"));
        };
        // SAFETY: the memory outlives the registration, as whoever made the stretch vouches.
        let outcome = check(unsafe { register(address_of(&memory), memory.length(), 0) });
        match outcome {
            Ok(()) => Ok(Region { memory, driver: Arc::clone(driver) }),
            Err(code) => Err(format!("cuFileBufRegister of {} bytes: {code}", memory.length())),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(deregister) = self.driver.library.deregister_memory {
            // SAFETY: registered once, and no transfer uses it any more. What it answers changes nothing.
            let _ = check(unsafe { deregister(address_of(&self.memory)) });
        }
    }
}
