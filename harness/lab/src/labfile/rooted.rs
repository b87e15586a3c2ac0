//! Relative paths of a lab file start in its own folder.

use std::path::{Path, PathBuf};

use super::Instance;
use crate::power::PowerSpec;
use crate::serial::ConsoleSpec;
use crate::storage::Enter;
use crate::storage::mux::MuxSpec;

pub(super) fn instance(instance: &mut Instance, dir: &Path) {
    for image in &mut instance.images {
        path(image, dir);
    }
    power(&mut instance.power, dir);
    if let ConsoleSpec::Tty(tty) = &mut instance.console {
        path(&mut tty.port, dir);
    }
    for sent in instance.uboot.iter_mut().flat_map(|lines| &mut lines.send) {
        path(&mut sent.file, dir);
    }
    let Some(storage) = &mut instance.storage else { return };
    storage.device.iter_mut().for_each(|device| path(device, dir));
    if let Some(Enter::Contact(contact)) = &mut storage.enter {
        power(contact, dir);
    }
    match &mut storage.mux {
        Some(MuxSpec::Usbsdmux(mux)) => {
            path(&mut mux.control, dir);
            mux.tool.iter_mut().for_each(|tool| path(tool, dir));
        }
        Some(MuxSpec::Command(mux)) => {
            let get = mux.get.iter_mut();
            [&mut mux.host, &mut mux.dut].into_iter().chain(get).for_each(|argv| {
                program(argv, dir);
            });
        }
        Some(MuxSpec::Sdwire(_)) | None => {}
    }
}

fn power(spec: &mut PowerSpec, dir: &Path) {
    match spec {
        PowerSpec::Lcus(relay) => path(&mut relay.port, dir),
        PowerSpec::ModbusRtu(relay) => path(&mut relay.port, dir),
        PowerSpec::Gpio(gpio) => path(&mut gpio.chip, dir),
        PowerSpec::Command(command) => {
            let get = command.get.iter_mut();
            [&mut command.on, &mut command.off].into_iter().chain(get).for_each(|argv| {
                program(argv, dir);
            });
        }
        _ => {}
    }
}

fn path(path: &mut PathBuf, dir: &Path) {
    if path.is_relative() {
        *path = dir.join(&*path);
    }
}

/// A program without a slash is found on the PATH.
fn program(argv: &mut [String], dir: &Path) {
    if let Some(first) = argv.first_mut()
        && first.contains('/')
        && Path::new(first).is_relative()
    {
        *first = dir.join(&*first).to_string_lossy().into_owned();
    }
}
