//! Container engines: a client with Docker's verbs, and what each kind says in its own way.

mod balena_engine;
mod docker;
mod podman;

use async_trait::async_trait;
use hil_core::parts::quoted;
use hil_core::product::{Engine, Setup, Standing};
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome, Trouble};

pub(super) use balena_engine::BALENA_ENGINE;
pub(super) use docker::DOCKER;
pub(super) use podman::PODMAN;

/// One kind of engine, as data. The formats are Go templates for the client's `--format`, their
/// fields separated by `|`.
pub(super) struct Cli {
    client: &'static str,
    daemons: &'static [&'static str],
    /// The verb that pulls from a registry without TLS, if that is the board's own.
    pull: &'static [&'static str],
    /// In what the size of a volume in memory is given.
    tmpfs_in: TmpfsIn,
    /// Of `info`: the version of what does the work.
    version: &'static str,
    /// Of `info`: storage driver, cgroup version, runtime, root folder.
    setup: &'static str,
    /// Of `inspect`: running, exit code, restarts, process id, health.
    standing: &'static str,
}

/// Options of the kernel's tmpfs (`Documentation/filesystems/tmpfs.rst`).
enum TmpfsIn {
    Bytes,
    /// Where the engine takes `size` for its own, a project quota that few file systems have.
    Pages,
}

/// Of the memory of the board, in bytes.
async fn page_size(rig: &mut Rig) -> Outcome<u64> {
    let told = rig.must("grep -m1 KernelPageSize /proc/self/smaps").await?;
    let kib = told.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.or_fail(format!("/proc/self/smaps tells no page size: {told}"))? << 10)
}

impl Cli {
    async fn told(&self, rig: &mut Rig, words: &[&str]) -> Outcome<String> {
        Ok(self.must(rig, words).await?.stdout.trim().to_string())
    }
}

/// One a line, and none missing.
fn standings(told: &str, count: usize) -> Option<Vec<Standing>> {
    let all: Option<Vec<Standing>> = told.lines().map(standing).collect();
    all.filter(|all| all.len() == count)
}

fn standing(told: &str) -> Option<Standing> {
    let mut fields = told.split('|');
    Some(Standing {
        running: fields.next()?.parse().ok()?,
        exit_code: fields.next()?.parse().ok()?,
        restarts: fields.next()?.parse().ok()?,
        pid: fields.next()?.parse().ok()?,
        health: fields.next()?.to_string(),
    })
}

fn setup(told: &str) -> Option<Setup> {
    let mut fields = told.split('|').map(str::to_string);
    Some(Setup {
        storage_driver: fields.next()?,
        cgroup: fields.next()?.trim_start_matches('v').to_string(),
        runtime: fields.next()?,
        root: fields.next()?,
    })
}

#[async_trait]
impl Engine for Cli {
    fn name(&self) -> &'static str {
        self.client
    }

    fn daemons(&self) -> &'static [&'static str] {
        self.daemons
    }

    fn line(&self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        format!("{} {}", self.client, words.join(" "))
    }

    async fn version(&self, rig: &mut Rig) -> Outcome<String> {
        let version = self.told(rig, &["info", "--format", self.version]).await?;
        // Without its daemon a client of Docker's says nothing here, and may end well all the same.
        match version.is_empty() {
            true => Err(Trouble::product("`info` names no version")),
            false => Ok(version),
        }
    }

    async fn setup(&self, rig: &mut Rig) -> Outcome<Setup> {
        let told = self.told(rig, &["info", "--format", self.setup]).await?;
        setup(&told).or_fail(format!("`info` printed `{told}`"))
    }

    async fn pull(&self, rig: &mut Rig, reference: &str) -> Outcome {
        self.must(rig, &[self.pull, &[reference]].concat()).await.map(drop)
    }

    async fn tmpfs_volume(&self, rig: &mut Rig, name: &str, bytes: u64) -> Outcome {
        let size = match self.tmpfs_in {
            TmpfsIn::Bytes => format!("o=size={bytes}"),
            TmpfsIn::Pages => format!("o=nr_blocks={}", bytes / page_size(rig).await?),
        };
        let opts = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", &size, name];
        self.must(rig, &[&["volume", "create"], opts.as_slice()].concat()).await.map(drop)
    }

    async fn inspect(&self, rig: &mut Rig, names: &[&str]) -> Outcome<Vec<Standing>> {
        let words = ["container", "inspect", "--format", self.standing];
        let told = self.told(rig, &[words.as_slice(), names].concat()).await?;
        standings(&told, names.len()).or_fail(format!("`inspect` printed `{told}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engines_print_is_understood() {
        let told = standing("true|0|2|4711|healthy");
        let expected = Standing {
            running: true,
            exit_code: 0,
            restarts: 2,
            health: "healthy".into(),
            pid: 4711,
        };
        assert_eq!(told, Some(expected.clone()));
        let both = standings("false|137|0|0|\ntrue|0|2|4711|healthy", 2).unwrap_or_default();
        assert_eq!(both.get(1), Some(&expected));
        assert_eq!(standings("true|0|2|4711|healthy", 2), None);
        assert_eq!(standings("true|0|2|4711|healthy\nError", 2), None);
        assert_eq!(standing("false|137|0|0|").map(|told| told.health), Some(String::new()));
        assert_eq!(standing("Error"), None);
        assert_eq!(setup("overlay|v2|crun|/var").map(|told| told.cgroup), Some("2".into()));
        assert_eq!(setup("overlay2|2|runc"), None);
    }
}
