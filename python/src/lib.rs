//! `nixl_store._native`: the Python binding of nixl-store.
//!
//! A client of the library's C interface like any other. `abi` and `buffer` alone have unsafe code for it: the one hands
//! the library pointers, the other takes memory from Python. Everything that may wait lets go of the interpreter.

mod abi;
mod batch;
mod buffer;
mod errors;
mod queue;
mod store;

use pyo3::prelude::*;

/// The native half of the package nixl_store.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::batch::{ItemResult, Results, Ticket};
    #[pymodule_export]
    use crate::buffer::Region;
    #[pymodule_export]
    use crate::queue::Queue;
    #[pymodule_export]
    use crate::store::NativeStore;

    use pyo3::prelude::*;

    /// The name of a status, such as "NIXL_STORE_NOT_FOUND".
    #[pyfunction]
    fn status_name(status: i32) -> &'static str {
        crate::abi::status_name(status)
    }

    /// All that the open stores of this process measure, in the form of OpenMetrics.
    #[pyfunction]
    fn metrics_text(py: Python<'_>) -> PyResult<String> {
        let told = py.detach(crate::abi::metrics_text_of_all);
        told.map_err(|failure| crate::errors::exception(py, &failure))
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("version", crate::abi::version())
    }
}
