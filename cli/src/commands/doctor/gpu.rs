//! What comes from others and is loaded when a store needs it: CUDA's driver, cuFile, 3FS's client library.

use nixl_store::config::BufferDevice;
use nixl_store::cuda::{Library, in_any_context};
use nixl_store::cufile::Driver;
use nixl_store::hf3fs::{Client, Mount, Wanted};

use super::finding::Finding;
use super::situation::Situation;

/// What is looked at here.
pub const CHECKS: [&str; 3] = ["CUDA", "cuFile", "3FS"];

/// CUDA's driver and its devices.
pub fn cuda(situation: &Situation) -> Vec<Finding> {
    let library = match Library::load() {
        Ok(library) => library,
        Err(error) => {
            return vec![
                Finding::broken("CUDA", error.message())
                    .advise("Install NVIDIA's driver; in a container, start it with --gpus all.")
                    .advise("or set nixl_buffer_device: cpu"),
            ];
        }
    };
    let count = match library.device_count() {
        Ok(0) => {
            return vec![Finding::broken("CUDA", "the driver is loaded, and sees no device").advise(VISIBLE)];
        }
        Ok(count) => u32::from(count),
        Err(error) => return vec![Finding::broken("CUDA", error.message()).advise(VISIBLE)],
    };
    let configured = match situation.config.buffer_device {
        BufferDevice::Cuda(device) => device,
        BufferDevice::Cpu => None,
    };
    match configured.or(situation.options.cuda_device) {
        Some(device) if device >= count => {
            let text = format!("device {device} is asked for, and there are {count}, from 0 on");
            vec![Finding::broken("CUDA", text).advise(VISIBLE)]
        }
        _ => vec![Finding::ok("CUDA", format!("the driver is loaded, {count} devices"))],
    }
}

/// What to do about devices that are not seen.
const VISIBLE: &str = "See what nvidia-smi lists, and whether CUDA_VISIBLE_DEVICES hides a device.";

/// cuFile, and by which way it moves bytes.
pub fn cufile(_situation: &Situation) -> Vec<Finding> {
    // Before cuFile, which looks for the driver when it is opened.
    drop(Library::load());
    let driver = match Driver::open(in_any_context) {
        Ok(driver) => driver,
        Err(why) => {
            let is_missing = why.contains("libcufile");
            let finding = Finding::broken("cuFile", why);
            let finding = match is_missing {
                true => finding.advise("Install CUDA's package libcufile, in the container too."),
                false => finding,
            };
            return vec![finding.advise("Set nixl_backend: POSIX, which serves the same files without it.")];
        }
    };
    match &driver.properties().compatible {
        None => vec![Finding::ok("cuFile", "by the direct path")],
        Some(why) => vec![
            Finding::better("cuFile", "in compatibility mode: bytes pass the processor")
                .because(why.clone())
                .advise("modprobe nvidia-fs (package nvidia-gds), then see gdscheck -p"),
        ],
    }
}

/// 3FS's mount and its client library.
pub fn hf3fs(situation: &Situation) -> Vec<Finding> {
    let config = &situation.config;
    let Some(path) = situation.path() else {
        return vec![Finding::ok("3FS", "not used: there is no nixl_path")];
    };
    let mount_point = config.backend_params.get("mount_point").map(std::path::Path::new);
    let mount = match Mount::find(Wanted { mount_point, path: &path }) {
        Ok(mount) => mount,
        Err(why) => {
            return vec![
                Finding::broken("3FS", why).advise("Mount 3FS, and set nixl_path to a directory on it."),
            ];
        }
    };
    let shown = mount.path().display().to_string();
    if !situation.needs_hf3fs() {
        return vec![Finding::ok(
            "3FS",
            format!("{shown} is a mount; nixl_backend: HF3FS would use its rings"),
        )];
    }
    match Client::open(config.store.hf3fs_library.as_deref(), mount) {
        Ok(_) => vec![Finding::ok("3FS", format!("{shown} is the mount, its client library is loaded"))],
        Err(why) => vec![
            Finding::broken("3FS", why).advise("Set nixl_store_hf3fs_library to libhf3fs_api_shared.so."),
        ],
    }
}
