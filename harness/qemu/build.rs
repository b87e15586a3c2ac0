//! Builds the repository's boards and machines into the program: adding one is adding a file.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut code = String::new();
    for (constant, folder) in [("SHIPPED_MACHINES", "qemu-configs"), ("SHIPPED_BOARDS", "boards")] {
        let path = root.join(folder);
        println!("cargo::rerun-if-changed={}", path.display());
        let mut names: Vec<String> = fs::read_dir(&path)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".toml"))
            .collect();
        names.sort();
        let mut list = String::new();
        for name in names {
            let file = path.join(&name);
            println!("cargo::rerun-if-changed={}", file.display());
            let shown = format!("{folder}/{name}");
            let _ =
                writeln!(list, "    ({shown:?}, include_str!({:?})),", file.display().to_string());
        }
        let _ = writeln!(code, "const {constant}: &[(&str, &str)] = &[\n{list}];");
    }
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("shipped.rs"), code)
}
