//! A container's control group, as the kernel shows it: version 2 (`cgroup-v2.rst`).

use hil_core::prelude::*;
use hil_core::product::Standing;

use super::finding;

pub(super) struct Cgroup {
    dir: String,
    /// The container's first process, on the host.
    pub(super) pid: u32,
}

/// Before the first container: an engine may refuse a limit that only version 2 has. Where both are mounted
/// (systemd's "hybrid"), version 1 has the controllers, and this file is not here but in `unified`.
pub(super) async fn must_be_version_2(rig: &mut Rig) -> Outcome {
    match rig.run("[ -e /sys/fs/cgroup/cgroup.controllers ]").await?.ok() {
        true => Ok(()),
        false => Err(finding("control groups of version 1, which hil cannot read back yet")),
    }
}

impl Cgroup {
    /// The group of a running container, which stands so.
    pub(super) async fn of(rig: &mut Rig, name: &str, standing: &Standing) -> Outcome<Cgroup> {
        let pid = standing.pid;
        check!(pid != 0, "{name} does not run");
        let path = rig.must(&format!("sed -n 's/^0:://p' /proc/{pid}/cgroup")).await?;
        // A rootless or systemd-driven engine puts the container one or more levels deeper; the
        // limits stand at the innermost group.
        Ok(Cgroup { dir: format!("/sys/fs/cgroup{path}"), pid })
    }

    /// A file's content; nothing where the kernel has no such file.
    pub(super) async fn read(&self, rig: &mut Rig, file: &str) -> Outcome<Option<String>> {
        let ran = rig.run(&format!("cat {}/{file}", self.dir)).await?;
        Ok(ran.ok().then(|| ran.text()))
    }

    /// A file's content behind the board's uptime in seconds, both of one moment: a host that stands still
    /// between two commands would make time of nothing, or nothing of time.
    pub(super) async fn read_at(&self, rig: &mut Rig, file: &str) -> Outcome<(f64, String)> {
        let told = rig.must(&format!("cat /proc/uptime {}/{file}", self.dir)).await?;
        let (up, text) = told.split_once('\n').or_fail(format!("{file} is empty"))?;
        let at = up.split(' ').next().and_then(|up| up.parse().ok());
        Ok((at.or_fail(format!("/proc/uptime says `{up}`"))?, text.into()))
    }

    /// Checks that a limit stands there.
    pub(super) async fn must_hold(&self, rig: &mut Rig, file: &str, value: &str) -> Outcome {
        let is = self.read(rig, file).await?;
        let is = is.ok_or_else(|| finding(format!("the kernel has no {file}")))?;
        check!(is == value, "{file} of the container is `{is}`, not `{value}`");
        Ok(())
    }

    /// One counter of a file with a name and a number a line.
    pub(super) async fn counter(&self, rig: &mut Rig, file: &str, key: &str) -> Outcome<u64> {
        let text = self.read(rig, file).await?.unwrap_or_default();
        counter(&text, key).or_fail(format!("{file} of the container has no `{key}`"))
    }
}

pub(super) fn counter(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let text = "oom 3\noom_kill 2\n";
        assert_eq!(counter(text, "oom_kill"), Some(2));
        assert_eq!(counter(text, "oom"), Some(3));
        assert_eq!(counter(text, "kill"), None);
    }
}
