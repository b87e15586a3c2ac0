//! A slow and lossy link. The registry is the board's own, on its loopback: that needs no network,
//! and what the link suffers touches nobody's shell.

use hil_core::prelude::*;

use super::finding;
use crate::bench::{Bench, LABEL};

const FOLDER: &str = "/tmp/hil-registry";
const PORT: u16 = 15_000;

/// Lays an image out as a registry's answers (distribution's HTTP API, version 2): one layer of random
/// bytes, since of what an engine knows already it pulls nothing.
const LAY_OUT: &str = r#"rm -rf $D && mkdir -p $D/v2/hil/pulled/blobs $D/v2/hil/pulled/manifests &&
cd $D && head -c SIZE /dev/urandom >payload && tar cf layer payload && cd v2/hil/pulled || exit 1
sum() { echo sha256:$(sha256sum <"$1" | cut -d' ' -f1); }
blob() {
    sum=$(sum "$1")
    mv "$1" blobs/$sum
    printf '{"mediaType":"%s","size":%s,"digest":"%s"}' "$2" $(wc -c <blobs/$sum) $sum
}
type=application/vnd.docker
printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
    $ARCH $(sum $D/layer) >$D/config
printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' \
    $type.distribution.manifest.v2+json "$(blob $D/config $type.container.image.v1+json)" \
    "$(blob $D/layer $type.image.rootfs.diff.tar.gzip)" >manifests/whole
cp manifests/whole manifests/$(sum manifests/whole)"#;

/// Answers one request, inside a container; what it knows is mounted at /registry.
const ANSWER: &str = r#"read -r verb path rest
while read -r line && [ ${#line} -gt 1 ]; do :; done
file=/registry$path type=application/octet-stream status='200 OK'
case $path in */manifests/*) type=application/vnd.docker.distribution.manifest.v2+json;; esac
[ -f $file ] || file=/dev/null
[ $path = /v2/ ] || [ $file != /dev/null ] || status='404 Not Found'
printf 'HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' \
    "$status" $type $(wc -c <$file)
[ $verb = HEAD ] || cat $file"#;

/// What a field installation may have: a slow uplink that loses one packet in thirty.
const LINK: &str = "rate 4mbit delay 30ms loss 3%";

/// Bytes of the layer that is pulled: at this link's rate two seconds of it, in hundreds of packets.
const PAYLOAD: u64 = 1 << 20;

/// An Ethernet's. A loopback's own packets are so large that a whole image is a few of them.
const MTU: u32 = 1500;

pub(super) async fn lossy_pull(rig: &mut Rig, bench: &Bench) -> Outcome {
    let mtu = rig.must("cat /sys/class/net/lo/mtu").await?;
    let shaped = rig.run(&format!("tc qdisc replace dev lo root netem {LINK}")).await?;
    if !shaped.ok() {
        return Err(finding(format!("this kernel cannot slow a link down: {}", shaped.said())));
    }
    let reference = format!("127.0.0.1:{PORT}/hil/pulled:whole");
    let outcome = pull(rig, bench, &reference).await;
    if rig.is_fork() {
        return outcome;
    }
    let cleared = bench.clear(rig).await;
    let forget = bench.engine.line(&["rmi", "--force", &reference]);
    let undo = format!(
        "{forget}; tc qdisc del dev lo root; echo {mtu} >/sys/class/net/lo/mtu; rm -rf {FOLDER}"
    );
    let undone = rig.run(&undo).await.map(drop);
    outcome.and(cleared).and(undone)
}

async fn pull(rig: &mut Rig, bench: &Bench, reference: &str) -> Outcome {
    rig.must(&format!("echo {MTU} >/sys/class/net/lo/mtu")).await?;
    let ask = ["image", "inspect", "--format", "{{.Architecture}}", &bench.image];
    let arch = bench.engine.must(rig, &ask).await?;
    let lay_out = LAY_OUT.replace("SIZE", &PAYLOAD.to_string());
    let arch = arch.stdout.trim();
    check!(!arch.is_empty(), "the engine does not know the architecture of {}", bench.image);
    rig.must(&format!("set -e; D={FOLDER}; ARCH={arch}; {lay_out}")).await?;
    let port = PORT.to_string();
    let mount = format!("--volume={FOLDER}:/registry");
    let publish = format!("--publish=127.0.0.1:{PORT}:{PORT}");
    // Where it has a network of its own (an engine that remaps users), it is reached by its port.
    let options = [mount.as_str(), &publish];
    let options = if bench.common.is_empty() { &options[..] } else { &options[..1] };
    let serve = ["nc", "-ll", "-p", &port, "-e", "sh", "-c", ANSWER];
    bench.start(rig, "registry", options, &serve).await?;

    let before = dropped(rig).await?;
    let start = rig.journal().clock().now();
    bench.engine.pull(rig, reference).await?;
    let took = (rig.journal().clock().now() - start).as_secs_f64();
    let lost = dropped(rig).await?.saturating_sub(before);
    rig.fact("lossy-pull.took", took, "s");
    rig.fact("lossy-pull.lost", lost as f64, "packets");
    check!(lost > 0, "the link lost no packet of the pull: nothing was tried");

    let name = bench.name(rig, "pulled");
    let create = ["create", "--label", LABEL, "--name", &name, reference, "/payload"];
    bench.engine.must(rig, &create).await?;
    let copied = format!("{FOLDER}/copied");
    bench.engine.must(rig, &["cp", &format!("{name}:/payload"), &copied]).await?;
    let sums = rig.must(&format!("cd {FOLDER} && sha256sum <payload && sha256sum <copied")).await?;
    let (served, pulled) = sums.split_once('\n').or_fail(format!("no two sums: {sums}"))?;
    check!(served == pulled, "what was pulled is not what was served: {sums}");
    Ok(())
}

/// How many packets the link has lost.
async fn dropped(rig: &mut Rig) -> Outcome<u64> {
    let told =
        rig.must("tc -s qdisc show dev lo | sed -n 's/.*dropped \\([0-9]*\\).*/\\1/p'").await?;
    told.parse().ok().or_fail(format!("`tc` told no number of lost packets but `{told}`"))
}
