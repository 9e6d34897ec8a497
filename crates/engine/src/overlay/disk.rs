//! Disk images: files that hold a file system, mounted by way of a loop device (loop(4)).
//!
//! The kernel frees the device with the last use of its mount, however the processes end that made
//! it (`LO_FLAGS_AUTOCLEAR`). The device's node lies in a file system without a name, since the
//! manager's /dev may lack it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
};

use nix::{errno::Errno, libc};
use rustix::{
    fs::{FileType, Mode, OFlags, makedev, mknodat, openat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen,
    },
};

use super::{At, OverlayError};

/// The major number of loop devices, and the number of devices that are tried.
const MAJOR: u32 = 7;
const DEVICES: u32 = 1024;
/// The numbers of the device that gives out loop devices.
const CONTROL: (u32, u32) = (10, 237);
/// The number of times that this device is asked. Others may be faster to use its answer.
const ASKED: u32 = 64;

/// Returns a mount without a place of the file system in an image.
pub(super) fn open(image: &Path, file_system: &str) -> Result<OwnedFd, OverlayError> {
    let action = || {
        format!(
            "mount the {file_system} file system of `{}`",
            image.display()
        )
    };
    let file = open_image(image).at(format!("open `{}`", image.display()))?;
    let nodes = new("tmpfs", None).at("make a place for a device")?;
    let device = attach(&file, &nodes).at(format!(
        "attach `{}` to a loop device (block device 7:N)",
        image.display()
    ))?;
    let source = format!("/proc/self/fd/{}", device.as_raw_fd());
    new(file_system, Some(&source)).at(action())
}

/// Opens an image: a file or a block device. Does not wait for a named pipe.
fn open_image(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(file),
        false => Err(Errno::ENOTBLK.into()),
    }
}

/// Returns a new mount without a place, read-only if it has a source.
fn new(file_system: &str, source: Option<&str>) -> io::Result<OwnedFd> {
    let context = fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let mut attributes = MountAttrFlags::empty();
    if let Some(source) = source {
        fsconfig_set_string(context.as_fd(), "source", source)?;
        fsconfig_set_flag(context.as_fd(), "ro")?;
        if file_system == "ext4" {
            // The journal of an image that was copied from a mounted disk cannot be replayed.
            fsconfig_set_flag(context.as_fd(), "noload")?;
        }
        attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// Attaches a file to a free loop device, whose node is made in `nodes`.
fn attach(file: &File, nodes: &OwnedFd) -> io::Result<OwnedFd> {
    // The kernel finds or makes a free device. A container may lack the device that is asked.
    let control = node(nodes, "control", FileType::CharacterDevice, CONTROL);
    let asked = (0..ASKED).map_while(|_| free_device(control.as_ref().ok()?).ok());
    let mut last = Errno::ENXIO.into();
    for number in asked.chain(0..DEVICES) {
        let name = number.to_string();
        let device = node(nodes, &name, FileType::BlockDevice, (MAJOR, number))?;
        match configure(&device, file) {
            Ok(()) => return Ok(device),
            // Another file has it.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Opens a device by a node of its own.
fn node(
    nodes: &OwnedFd,
    name: &str,
    kind: FileType,
    (major, minor): (u32, u32),
) -> io::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    match mknodat(nodes, name, kind, mode, makedev(major, minor)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(nodes, name, flags, Mode::empty())?)
}

/// Returns the number of a loop device that is free now (`LOOP_CTL_GET_FREE`, loop(4)).
#[expect(
    unsafe_code,
    reason = "the ioctl of loop devices is wrapped neither by std nor by the crates nix and rustix"
)]
fn free_device(control: &OwnedFd) -> io::Result<u32> {
    const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
    // SAFETY: the request has no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Attaches a file to a loop device: read-only, and until the last use of the device.
#[expect(
    unsafe_code,
    reason = "the ioctl of loop devices is wrapped neither by std nor by the crates nix and rustix"
)]
fn configure(device: &OwnedFd, file: &File) -> io::Result<()> {
    /// `struct loop_config` of linux/loop.h, whose second and third parts are `struct loop_info64`.
    #[repr(C)]
    struct Config {
        file: u32,
        block_size: u32,
        numbers: [u64; 5],
        number: u32,
        encrypt_type: u32,
        encrypt_key_size: u32,
        flags: u32,
        names: [u8; 160],
        init: [u64; 2],
        reserved: [u64; 8],
    }
    const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
    const READ_ONLY_AND_AUTOCLEAR: u32 = 1 | 4;
    const { assert!(size_of::<Config>() == 304) };
    let config = Config {
        file: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        numbers: [0; 5],
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: READ_ONLY_AND_AUTOCLEAR,
        names: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the argument has the size and layout of the kernel's structure, and lives until the
    // call returns. The kernel only reads it.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_CONFIGURE as _,
            std::ptr::from_ref(&config),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_a_named_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(open_image(&pipe).is_err()));
        let found = told.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(found, Ok(true));
    }
}
