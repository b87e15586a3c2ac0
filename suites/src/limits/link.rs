//! A slow and lossy link. The registry is the board's own, on its loopback: that needs no network,
//! and what the link suffers touches nobody's shell.

use hil_core::prelude::*;
use hil_core::product::Container;

use super::finding;
use crate::bench::Bench;

const FOLDER: &str = "/tmp/hil-registry";
const PORT: u16 = 15_000;

/// Lays an image's archive out as a registry's answers (distribution's HTTP API, version 2).
const LAY_OUT: &str = r#"rm -rf $D && mkdir -p $D/x $D/v2/hil/pulled/blobs $D/v2/hil/pulled/manifests &&
cd $D && tar xf $ARCHIVE -C x && cd v2/hil/pulled
sum() { echo sha256:$(sha256sum "$1" | cut -d' ' -f1); }
blob() {
    sum=$(sum "$1")
    mv "$1" blobs/$sum
    printf '{"mediaType":"%s","size":%s,"digest":"%s"}' "$2" $(wc -c <blobs/$sum) $sum
}
x=$D/x type=application/vnd.docker
config=$(sed 's/.*"Config":"\([^"]*\)".*/\1/' $x/manifest.json)
layers=$(sed 's/.*"Layers":\[\([^]]*\)\].*/\1/; s/[",]/ /g' $x/manifest.json)
config=$(blob $x/$config $type.container.image.v1+json)
list=
for layer in $layers; do
    list=$list${list:+,}$(blob $x/$layer $type.image.rootfs.diff.tar.gzip)
done
printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' \
    $type.distribution.manifest.v2+json "$config" "$list" >manifests/whole
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

pub(super) async fn lossy_pull(rig: &mut Rig, bench: &Bench) -> Outcome {
    let shaped = rig.run(&format!("tc qdisc replace dev lo root netem {LINK}")).await?;
    if !shaped.ok() {
        return Err(finding(format!("this kernel cannot slow a link down: {}", shaped.said())));
    }
    let outcome = pull(rig, bench).await;
    rig.run(&format!("tc qdisc del dev lo root; rm -rf {FOLDER}")).await?;
    outcome
}

async fn pull(rig: &mut Rig, bench: &Bench) -> Outcome {
    rig.must(&format!("D={FOLDER}; ARCHIVE={}; {LAY_OUT}", bench.archive)).await?;
    let port = PORT.to_string();
    let mount = format!("--volume={FOLDER}:/registry");
    let serve = ["nc", "-ll", "-p", &port, "-e", "sh", "-c", ANSWER];
    bench.start(rig, "registry", &["--network=host", &mount], &serve).await?;
    let sum = ["sha256sum", "/bin/busybox"];
    let original = bench.must_run(rig, &[], &sum).await?;

    let reference = format!("127.0.0.1:{PORT}/hil/pulled:whole");
    pull_with_losses(rig, bench, &reference).await?;
    let pulled = Container { image: &reference, command: &sum, ..Default::default() };
    let ran = bench.engine.run(rig, &pulled).await?;
    check!(ran.stdout == original, "what was pulled is not what was served: {ran:?}");
    bench.engine.must(rig, &["rmi", "--force", &reference]).await.map(drop)
}

/// A small image is some sixty packets of the loopback's size, of which one time in six none is lost:
/// then it is pulled again.
const PULLS: u32 = 8;

/// Pulls until a pull had to do with losses.
async fn pull_with_losses(rig: &mut Rig, bench: &Bench, reference: &str) -> Outcome {
    let mut dropped = String::new();
    for _ in 0..PULLS {
        let start = rig.journal().clock().now();
        bench.engine.pull(rig, reference).await?;
        let took = (rig.journal().clock().now() - start).as_secs_f64();
        dropped = rig.must(DROPPED).await?;
        if dropped.parse::<u64>().is_ok_and(|lost| lost > 0) {
            rig.fact("lossy-pull.took", took, "s");
            return Ok(());
        }
        bench.engine.must(rig, &["rmi", "--force", reference]).await?;
    }
    Err(Trouble::product(format!("in {PULLS} pulls the link lost `{dropped}` packets")))
}

/// How many packets the link has lost.
const DROPPED: &str = "tc -s qdisc show dev lo | sed -n 's/.*dropped \\([0-9]*\\).*/\\1/p'";
