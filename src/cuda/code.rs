//! What the driver answers: its codes, as far as this library acts on them (cuda.h).

/// What a function of the driver answers; 0 is success. A number and no enumeration: a newer driver may answer what this build
/// has no name for.
pub type Code = u32;

/// Success.
pub const SUCCESS: Code = 0;
/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub const OUT_OF_MEMORY: Code = 2;
/// `CUDA_ERROR_NO_DEVICE`.
pub const NO_DEVICE: Code = 100;
/// `CUDA_ERROR_INVALID_CONTEXT`.
pub const INVALID_CONTEXT: Code = 201;
/// `CUDA_ERROR_NOT_READY`: no failure, it is not done yet.
pub const NOT_READY: Code = 600;
/// `CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED`.
pub const ALREADY_REGISTERED: Code = 712;
/// `CUDA_ERROR_INVALID_HANDLE`.
pub const INVALID_HANDLE: Code = 400;
/// `CUDA_ERROR_CONTEXT_IS_DESTROYED`.
pub const CONTEXT_IS_DESTROYED: Code = 709;
/// `CUDA_ERROR_NOT_SUPPORTED`.
pub const NOT_SUPPORTED: Code = 801;
/// `CUDA_ERROR_STREAM_CAPTURE_IMPLICIT`: the legacy default stream would take part in a capture of another stream.
pub const CAPTURE_IMPLICIT: Code = 906;
