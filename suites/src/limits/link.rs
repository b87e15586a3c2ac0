//! A slow and lossy link. The registry is the board's own, on its loopback: that needs no network,
//! and what the link suffers touches nobody's shell.

use hil_core::prelude::*;
use hil_core::product::Container;

use super::finding;
use crate::bench::Bench;

const FOLDER: &str = "/tmp/hil-registry";
const PORT: u16 = 15_000;

/// Lays an image's archive out as the files of a registry (distribution's HTTP API, version 2), and
/// serves them. The tag ends as the media type of a manifest does, for a server that knows files.
const SERVE: &str = r#"rm -rf $D && mkdir -p $D/x $D/v2/hil/pulled/blobs $D/v2/hil/pulled/manifests &&
cd $D && tar xf $ARCHIVE -C x && echo >v2/index.html
blob() {
    sum=sha256:$(sha256sum "$1" | cut -d' ' -f1)
    mv "$1" v2/hil/pulled/blobs/$sum
    printf '{"mediaType":"%s","size":%s,"digest":"%s"}' "$2" $(wc -c <v2/hil/pulled/blobs/$sum) $sum
}
type=application/vnd.docker
config=$(sed 's/.*"Config":"\([^"]*\)".*/\1/' x/manifest.json)
layers=$(sed 's/.*"Layers":\[\([^]]*\)\].*/\1/; s/[",]/ /g' x/manifest.json)
config=$(blob x/$config $type.container.image.v1+json)
list=
for layer in $layers; do
    list=$list${list:+,}$(blob x/$layer $type.image.rootfs.diff.tar.gzip)
done
printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' \
    $type.distribution.manifest.v2+json "$config" "$list" >v2/hil/pulled/manifests/whole.json
echo .json:$type.distribution.manifest.v2+json >httpd.conf
httpd -f -p 127.0.0.1:$PORT -h $D -c $D/httpd.conf >log 2>&1 & echo $! >pid"#;

/// What a field installation may have: a slow uplink that loses one packet in thirty.
const LINK: &str = "rate 4mbit delay 30ms loss 3%";

pub(super) async fn lossy_pull(rig: &mut Rig, bench: &Bench) -> Outcome {
    let shaped = rig.run(&format!("tc qdisc replace dev lo root netem {LINK}")).await?;
    if !shaped.ok() {
        return Err(finding(format!("this kernel cannot slow a link down: {}", shaped.said())));
    }
    let outcome = pull(rig, bench).await;
    rig.run(&format!("tc qdisc del dev lo root; kill $(cat {FOLDER}/pid); rm -rf {FOLDER}"))
        .await?;
    outcome
}

async fn pull(rig: &mut Rig, bench: &Bench) -> Outcome {
    let archive = &bench.archive;
    rig.must(&format!("D={FOLDER} ARCHIVE={archive} PORT={PORT}; {SERVE}")).await?;
    let sum = ["sha256sum", "/bin/busybox"];
    let original = bench.must_run(rig, &[], &sum).await?;
    // Nothing of it may be there yet, or nothing would come over the link.
    bench.engine.must(rig, &["rmi", "--force", &bench.image]).await?;
    let reference = format!("127.0.0.1:{PORT}/hil/pulled:whole.json");
    let start = rig.journal().clock().now();
    bench.engine.pull(rig, &reference).await?;
    rig.fact("lossy-pull.took", (rig.journal().clock().now() - start).as_secs_f64(), "s");
    let dropped =
        rig.must("tc -s qdisc show dev lo | sed -n 's/.*dropped \\([0-9]*\\).*/\\1/p'").await?;
    check!(dropped != "0" && !dropped.is_empty(), "the link lost nothing: {dropped}");
    let pulled = Container { image: &reference, command: &sum, ..Default::default() };
    let ran = bench.engine.run(rig, &pulled).await?;
    check!(ran.stdout == original, "what was pulled is not what was served: {ran:?}");
    bench.engine.must(rig, &["rmi", "--force", &reference]).await.map(drop)
}
