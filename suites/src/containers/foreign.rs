//! An image of another architecture. It is made on the board, so that no board needs an upload: a
//! docker-archive with one file, an ELF header of a machine that no board under test is.

use hil_core::prelude::*;
use hil_core::product::Container;

use crate::bench::Bench;

const TAG: &str = "hil/foreign:1";
const FOLDER: &str = "/tmp/hil-foreign";

/// Writes `foreign.tar` in the folder. The header is of s390x: 64 bits, big-endian, machine 22.
const MAKE: &str = r#"rm -rf $D && mkdir -p $D && cd $D &&
printf '\177ELF\2\2\1\0\0\0\0\0\0\0\0\0\0\2\0\26\0\0\0\1' >foreign &&
head -c 200 /dev/zero >>foreign && chmod 755 foreign && tar cf layer.tar foreign &&
sum=$(sha256sum layer.tar | cut -d' ' -f1) &&
printf '{"architecture":"s390x","os":"linux","config":{"Cmd":["/foreign"]},
"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $sum >config.json &&
printf '[{"Config":"config.json","RepoTags":["TAG"],"Layers":["layer.tar"]}]' >manifest.json &&
tar cf foreign.tar config.json layer.tar manifest.json"#;

pub(super) async fn wrong_architecture(rig: &mut Rig, bench: &Bench) -> Outcome {
    rig.must(&format!("D={FOLDER}; {}", MAKE.replace("TAG", TAG))).await?;
    bench.engine.load(rig, &format!("{FOLDER}/foreign.tar")).await?;
    let foreign = Container { image: TAG, options: bench.common, command: &[] };
    let ran = bench.engine.run(rig, &foreign).await?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    // Without a loader of foreign programs, which a device has not, the kernel refuses the file.
    check!(ran.status != 0, "a container of another architecture ended well");
    let named = said.to_lowercase().contains("exec format error");
    check!(named, "the error does not name the reason, `exec format error`: {}", said.trim());
    bench.engine.must(rig, &["rmi", "--force", TAG]).await?;
    rig.must(&format!("rm -rf {FOLDER}")).await?;
    Ok(())
}
