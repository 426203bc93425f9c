//! What C says at open and at submit, as the store wants it.

use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::check::{self, invalid};
use super::constants::{
    NIXL_STORE_CONFIG_BYTES_MAX, NIXL_STORE_DEADLINE_DEFAULT, NIXL_STORE_NAMESPACE_BYTES_MAX,
    NIXL_STORE_PATH_BYTES_MAX, NIXL_STORE_SUBMIT_AFTER_STREAM, NIXL_STORE_SUBMIT_BEFORE_STREAM,
    NIXL_STORE_SUBMIT_CHAIN, SUBMIT_FLAGS,
};
use super::extensible;
use super::handle::queue_id;
use super::text::bytes_for_c;
use super::types::{nixl_store_log_record_t, nixl_store_open_options_t, nixl_store_submit_options_t};
use crate::config::{Environment, Source};
use crate::cuda::StreamHandle;
use crate::error::Result;
use crate::log::{self, Level, Logger, Record};
use crate::store::{OpenOptions, StreamOrder, SubmitOptions};

/// Where the configuration comes from.
///
/// # Safety
/// Both as [`check::text`].
unsafe fn source<'a>(path: *const c_char, text: *const c_char) -> Result<Source<'a>> {
    const ENVIRONMENT: &str = "NULL stands for $LMCACHE_CONFIG_FILE, or the environment alone";
    if !path.is_null() && !text.is_null() {
        return Err(invalid("config_path and options->config_text are both given; one of them must be NULL"));
    }
    if !text.is_null() {
        // SAFETY: as this function's.
        let bytes = unsafe { check::text("options->config_text", text, NIXL_STORE_CONFIG_BYTES_MAX) }?;
        if bytes.is_empty() {
            return Err(invalid(format!("options->config_text is empty; {ENVIRONMENT}")));
        }
        return Ok(Source::Text(bytes));
    }
    if path.is_null() {
        return Ok(Source::Environment);
    }
    // SAFETY: as this function's.
    let bytes = unsafe { check::text("config_path", path, NIXL_STORE_PATH_BYTES_MAX - 1) }?;
    if bytes.is_empty() {
        return Err(invalid(format!("config_path is empty; {ENVIRONMENT}")));
    }
    Ok(Source::File(Path::new(OsStr::from_bytes(bytes))))
}

/// The options of an open, and where its configuration comes from.
///
/// # Safety
/// `path` as [`check::text`]; `pointer` as [`extensible::read`], its `config_text` and `cache_namespace` as
/// [`check::text`]; its `log_function` or `log_record_function` keeps the promises that its type documents until the
/// store is closed.
pub(super) unsafe fn open<'a>(
    path: *const c_char,
    pointer: *const nixl_store_open_options_t,
    environment: Environment<'_>,
) -> Result<(Source<'a>, OpenOptions)> {
    if pointer.is_null() {
        let options = OpenOptions::of_one_worker(to_stderr(environment)?);
        // SAFETY: as this function's.
        return Ok((unsafe { source(path, ptr::null()) }?, options));
    }
    // SAFETY: as this function's.
    let options = unsafe { extensible::read("options", pointer) }?;
    // SAFETY: as this function's.
    let source = unsafe { source(path, options.config_text) }?;
    let cuda_device = match options.has_cuda_device {
        0 => {
            check::reserved("options->cuda_device without has_cuda_device", options.cuda_device.into())?;
            None
        }
        1 => Some(options.cuda_device),
        other => return Err(invalid(format!("options->has_cuda_device is {other}; 0 and 1 are allowed"))),
    };
    let mut namespace = Vec::new();
    if !options.cache_namespace.is_null() {
        let (name, pointer) = ("options->cache_namespace", options.cache_namespace);
        // SAFETY: as this function's.
        namespace = unsafe { check::text(name, pointer, NIXL_STORE_NAMESPACE_BYTES_MAX) }?.to_vec();
    }
    let options = OpenOptions {
        chunk_bytes: (options.chunk_bytes != 0).then_some(options.chunk_bytes),
        worker_id: options.worker_id,
        world_size: options.world_size.max(1),
        cuda_device,
        namespace,
        logger: logger(&options, environment)?,
    };
    options.check_worker()?;
    Ok((source, options))
}

/// The engine's context pointer, carried to whichever thread logs.
struct LogContext(*mut c_void);

// SAFETY: it is never dereferenced here, only given back; the header asks for a function that is
// thread-safe with it.
unsafe impl Send for LogContext {}
// SAFETY: as above.
unsafe impl Sync for LogContext {}

impl LogContext {
    // A method, so that a closure captures the whole wrapper and not the bare pointer in it.
    fn pointer(&self) -> *mut c_void {
        self.0
    }
}

fn to_stderr(environment: Environment<'_>) -> Result<Logger> {
    Ok(Logger::to_stderr(log::level_from_environment(environment, Level::Warn)?))
}

fn logger(options: &nixl_store_open_options_t, environment: Environment<'_>) -> Result<Logger> {
    let function = match (options.log_function, options.log_record_function) {
        (None, None) => return to_stderr(environment),
        (Some(function), None) => Function::Text(function),
        (None, Some(function)) => Function::Record(function),
        (Some(_), Some(_)) => {
            return Err(invalid(
                "options->log_function and options->log_record_function are both given; one of them must be NULL",
            ));
        }
    };
    let context = LogContext(options.log_context);
    let sink = move |record: &Record<'_>| {
        let mut text = Vec::with_capacity(record.message.len() + 1);
        text.extend(bytes_for_c(record.message));
        text.push(0);
        // SAFETY: `text` is NUL-terminated and outlives the call; the header states what the
        // function owes, and that it lives until the store is closed.
        unsafe { function.call(context.pointer(), record, &text) }
    };
    Ok(Logger::new(Arc::new(sink), log::level_from_environment(environment, Level::Info)?))
}

/// The engine's function, in one of its two forms.
#[derive(Clone, Copy)]
enum Function {
    Text(unsafe extern "C" fn(*mut c_void, u32, *const c_char)),
    Record(unsafe extern "C" fn(*mut c_void, *const nixl_store_log_record_t)),
}

impl Function {
    /// # Safety
    /// `text` is NUL-terminated; the function and `context` are what the types of the functions document.
    unsafe fn call(self, context: *mut c_void, record: &Record<'_>, text: &[u8]) {
        let (level, message) = (record.level as u32, text.as_ptr().cast());
        match self {
            // SAFETY: as this function's.
            Function::Text(function) => unsafe { function(context, level, message) },
            Function::Record(function) => {
                let since_1970 = record.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let record = nixl_store_log_record_t {
                    struct_size: size_of::<nixl_store_log_record_t>(),
                    // 64 bits are enough until the year 2554.
                    time_unix_ns: since_1970.as_nanos() as u64,
                    level,
                    reserved: 0,
                    message,
                };
                // SAFETY: as this function's; the record outlives the call.
                unsafe { function(context, &raw const record) }
            }
        }
    }
}

/// The options of a submit, for the store with the handle `store_bits`; and whether the keys are a chain.
///
/// # Safety
/// As [`extensible::read`].
pub(super) unsafe fn submit(
    pointer: *const nixl_store_submit_options_t,
    store_bits: u64,
) -> Result<(SubmitOptions, bool)> {
    if pointer.is_null() {
        return Ok((SubmitOptions::default(), false));
    }
    // SAFETY: as this function's.
    let options = unsafe { extensible::read("options", pointer) }?;
    let unknown = options.flags & !SUBMIT_FLAGS;
    check::reserved("options->flags, apart from the known ones,", unknown.into())?;
    check::reserved("options->reserved", options.reserved.into())?;
    let has = |flag: u32| options.flags & flag != 0;
    let (after, before) = (has(NIXL_STORE_SUBMIT_AFTER_STREAM), has(NIXL_STORE_SUBMIT_BEFORE_STREAM));
    if !after && !before {
        let address = options.cuda_stream.addr() as u64;
        check::reserved("options->cuda_stream without a flag that orders the batch and a stream", address)?;
    }
    let queue = if options.queue.is_null() { None } else { Some(queue_id(store_bits, options.queue)?) };
    let submit = SubmitOptions {
        // No deadline is one in 584 million years, which needs no case of its own below.
        timeout: (options.deadline_ms != NIXL_STORE_DEADLINE_DEFAULT)
            .then(|| Duration::from_millis(options.deadline_ms)),
        queue,
        user_data: options.user_data,
        request: (options.request != 0).then_some(options.request),
        stream: (after || before).then(|| StreamOrder {
            stream: StreamHandle::new(options.cuda_stream),
            after,
            before,
        }),
    };
    Ok((submit, has(NIXL_STORE_SUBMIT_CHAIN)))
}
