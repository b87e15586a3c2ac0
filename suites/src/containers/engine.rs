//! The engine itself: there in time, and set up as the manifest says.

use hil_core::image::CgroupVersion;
use hil_core::prelude::*;

pub(super) async fn ready(rig: &mut Rig) -> Outcome {
    let engine = rig.engine()?;
    let start = rig.journal().clock().now();
    let version = engine.ready(rig).await?;
    let took = rig.journal().clock().now() - start;
    rig.fact("engine.answered", took.as_secs_f64(), "s");
    rig.journal().note(format!("{} {version}", engine.name()));
    Ok(())
}

pub(super) async fn as_built(rig: &mut Rig) -> Outcome {
    let facts = rig.image().engine.as_ref().map(|spec| spec.facts().clone());
    let facts = facts.or_fail("the manifest names no engine")?;
    let engine = rig.engine()?;
    engine.ready(rig).await?;
    let setup = engine.setup(rig).await?;
    let cgroup = facts.cgroup.map(|version| match version {
        CgroupVersion::V1 => "1".to_string(),
        CgroupVersion::V2 => "2".to_string(),
    });
    let wanted = [
        ("storage driver", facts.storage_driver, setup.storage_driver),
        ("cgroup version", cgroup, setup.cgroup),
        ("runtime", facts.runtime, setup.runtime),
    ];
    for (what, built, is) in wanted {
        if let Some(built) = built {
            check!(is == built, "the {what} is `{is}`; the manifest says `{built}`");
        }
    }
    Ok(())
}
