//! All boards and machines there are: those built into hil, and the user's beside or over them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hil_core::board::Board;
use hil_core::located::{ConfigError, nearest};

use crate::machine::Machine;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Boards and machines by name. Of two with one name the one added later holds.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    boards: BTreeMap<String, Entry<Board>>,
    machines: BTreeMap<String, Entry<Machine>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    value: T,
    file: PathBuf,
    text: Cow<'static, str>,
}

impl Catalogue {
    /// What is built into hil, from the repository's `boards/` and `qemu-configs/`.
    pub fn shipped() -> Result<Catalogue, ConfigError> {
        let mut catalogue = Catalogue::default();
        for (file, text) in SHIPPED_MACHINES {
            catalogue.add_machine(Path::new(file), Cow::Borrowed(text))?;
        }
        for (file, text) in SHIPPED_BOARDS {
            catalogue.add_board(Path::new(file), Cow::Borrowed(text))?;
        }
        catalogue.check()?;
        Ok(catalogue)
    }

    /// The shipped ones, then each folder of boards, with the `qemu-configs/` that stands beside.
    pub fn load(folders: &[PathBuf]) -> Result<Catalogue, ConfigError> {
        let mut catalogue = Catalogue::shipped()?;
        for folder in folders {
            let absolute = fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
            let beside = absolute.parent().map(|parent| parent.join("qemu-configs"));
            if let Some(machines) = beside.filter(|path| path.is_dir()) {
                for (file, text) in tomls(&machines)? {
                    catalogue.add_machine(&file, text.into())?;
                }
            }
            for (file, text) in tomls(folder)? {
                catalogue.add_board(&file, text.into())?;
            }
        }
        catalogue.check()?;
        Ok(catalogue)
    }

    fn add_board(&mut self, file: &Path, text: Cow<'static, str>) -> Result<(), ConfigError> {
        let value = Board::parse(&text, file)?;
        let entry = Entry { value, file: file.into(), text };
        self.boards.insert(entry.value.name.clone(), entry);
        Ok(())
    }

    fn add_machine(&mut self, file: &Path, text: Cow<'static, str>) -> Result<(), ConfigError> {
        let value = Machine::parse(&text, file)?;
        let entry = Entry { value, file: file.into(), text };
        self.machines.insert(entry.value.name.clone(), entry);
        Ok(())
    }

    /// What can only be seen when all files are known.
    fn check(&self) -> Result<(), ConfigError> {
        for Entry { value: board, file, text } in self.boards.values() {
            let at = |key: &str, why: String| ConfigError::at_key(file, text, key, why);
            if let Some(why) = self.emulation_mistake(board) {
                return Err(at("emulated_by", why));
            }
            let Some(on) = &board.qemu else { continue };
            let Some(machine) = self.machine(&on.machine) else {
                let why = format!("there is no machine `{}`", on.machine);
                let known = self.machines.keys().map(String::as_str);
                let help = match nearest(&on.machine, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
                };
                return Err(at("qemu.machine", why).with_help(help));
            };
            if machine.arch != board.arch {
                let why = format!("machine `{}` is {}", on.machine, machine.arch);
                let help = format!("its file is {}", self.machine_file(&on.machine));
                return Err(at("arch", why).with_help(help));
            }
            if machine.fixed_memory && on.memory_mib.is_some_and(|mib| mib != machine.memory_mib) {
                let why = format!("`{}` always has {} MiB", on.machine, machine.memory_mib);
                return Err(at("qemu.memory_mib", why));
            }
        }
        Ok(())
    }

    /// What is wrong with the board that a physical one names as its emulation.
    fn emulation_mistake(&self, board: &Board) -> Option<String> {
        let name = board.emulated_by.as_deref()?;
        match self.board(name).filter(|emulation| emulation.is_emulated()) {
            None => Some(format!("there is no emulated board `{name}`")),
            Some(other) if other.arch != board.arch => Some(format!("`{name}` is {}", other.arch)),
            Some(_) => None,
        }
    }

    fn machine_file(&self, name: &str) -> String {
        self.machines.get(name).map(|entry| entry.file.display().to_string()).unwrap_or_default()
    }

    /// All boards, by name.
    pub fn boards(&self) -> impl Iterator<Item = &Board> {
        self.boards.values().map(|entry| &entry.value)
    }

    pub fn board(&self, name: &str) -> Option<&Board> {
        self.boards.get(name).map(|entry| &entry.value)
    }

    /// Where a board's definition stands, for messages.
    pub fn board_file(&self, name: &str) -> Option<&Path> {
        self.boards.get(name).map(|entry| entry.file.as_path())
    }

    /// All machines, by name.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().map(|entry| &entry.value)
    }

    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.get(name).map(|entry| &entry.value)
    }
}

/// The TOML files of a folder, by name.
fn tomls(folder: &Path) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let unreadable = |path: &Path, why: std::io::Error| {
        ConfigError::whole(path, format!("cannot be read: {why}"))
    };
    let entries = fs::read_dir(folder).map_err(|why| unreadable(folder, why))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(why) => Err(unreadable(&path, why)),
    };
    files.into_iter().map(read).collect()
}
