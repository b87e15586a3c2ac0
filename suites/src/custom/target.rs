//! The words the target's shell hears. POSIX and busybox; no tool beyond `tar`, `wc`, `tail`, `head`.
//!
//! The script runs in the background and writes to files, so that its results can be followed over
//! any shell, a lost connection loses nothing, and a flood ends with the script instead of the
//! board: what runs beside it looks at the size of the files every second.

use std::collections::BTreeMap;

use hil_core::parts::{Output, quoted};

/// Of the output, read at once.
pub(super) const CHUNK: usize = 64 << 10;
/// How long the target waits for news before it answers, in seconds, at most.
const PATIENCE: u64 = 10;

/// `run.sh`: runs `command` in `files`, with stdout in `out`, stderr in `err`, the exit status in
/// `status`. `flood` is there if it printed more than `most` bytes and was killed.
pub(super) fn runner(command: &str, env: &BTreeMap<String, String>, most: u64) -> String {
    let variables: String =
        env.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    format!(
        "cd \"$(dirname \"$0\")\" || exit 1\n\
         mkdir -p files\n\
         {variables}\
         new=$(command -v setsid)\n\
         (cd files && exec $new sh -c {}) >out 2>err </dev/null &\n\
         pid=$!\n\
         echo $pid >pid\n\
         (while sleep 1; do\n\
         for f in out err; do\n\
         [ \"$(wc -c <$f)\" -le {most} ] || {{ : >flood; {KILL}; }}\n\
         done\n\
         done) &\n\
         dog=$!\n\
         wait $pid\n\
         echo $? >status.new\n\
         kill $dog\n\
         mv status.new status\n",
        quoted(command)
    )
}

/// The script with all it started, or itself where the target knows no sessions.
const KILL: &str = "kill -9 -$pid 2>/dev/null || kill -9 $pid 2>/dev/null";

pub(super) fn make(dir: &str) -> String {
    format!("mkdir -p {}", quoted(dir))
}

/// Unpacks `dir.tar` into `dir`.
pub(super) fn unpack(dir: &str) -> String {
    let dir = quoted(dir);
    format!("rm -rf {dir} && mkdir -p {dir} && tar -xf {dir}.tar -C {dir} && rm -f {dir}.tar")
}

pub(super) fn start(dir: &str) -> String {
    let dir = quoted(dir);
    format!(": >{dir}/out; : >{dir}/err; (sh {dir}/run.sh) >/dev/null 2>&1 </dev/null &")
}

/// Waits for the end or for output beyond `from`, for up to `most` seconds; then tells its status and
/// what there is of `out`.
pub(super) fn news(dir: &str, from: u64, most: u64) -> String {
    let patience = most.min(PATIENCE);
    format!(
        "cd {} || exit 1; n=0; while [ ! -e status ] && [ \"$(wc -c <out)\" -le {from} ] && \
         [ $n -lt {patience} ]; do sleep 1; n=$((n+1)); done; \
         if [ -e flood ]; then echo flood; elif [ -e status ]; then cat status; else echo -; fi; \
         tail -c +{} out | head -c {CHUNK}",
        quoted(dir),
        from + 1
    )
}

/// What is known of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Ended(i32),
    /// Killed, since it printed too much.
    Flooded,
}

/// The script's state, and the next bytes of its output.
pub(super) fn read_news(output: &Output) -> Option<(State, &[u8])> {
    let end = output.stdout.iter().position(|byte| *byte == b'\n')?;
    let first = std::str::from_utf8(&output.stdout[..end]).ok()?;
    let rest = &output.stdout[end + 1..];
    let state = match first {
        "-" => State::Running,
        "flood" => State::Flooded,
        status => State::Ended(status.parse().ok()?),
    };
    Some((state, rest))
}

pub(super) fn kill(dir: &str) -> String {
    format!("cd {} && pid=$(cat pid) && {{ {KILL}; }}", quoted(dir))
}

/// The last lines of stderr.
pub(super) fn last_words(dir: &str) -> String {
    format!("tail -c 2000 {}/err", quoted(dir))
}

/// `SIZE PATH` of each file that a pattern matches; the target's shell expands the patterns.
pub(super) fn sizes(dir: &str, patterns: &[String]) -> String {
    let patterns = patterns.join(" ");
    format!(
        "cd {}/files && for f in {patterns}; do [ -f \"$f\" ] && \
         echo \"$(wc -c <\"$f\") $f\"; done; true",
        quoted(dir)
    )
}

pub(super) fn remove(dir: &str) -> String {
    let dir = quoted(dir);
    format!("rm -rf {dir} {dir}.tar")
}
