//! `hil schema`: the JSON Schemas of the files people write, generated from the types.

use hil_core::board::Board;
use hil_core::image::Image;
use hil_lab::Lab;
use hil_qemu::machine::Machine;
use hil_suites::custom::SuiteFile;
use schemars::{Schema, schema_for};

use crate::args::{SchemaArgs, SchemaKind};
use crate::failure::Failure;
use crate::show::put;

pub(crate) fn print(args: &SchemaArgs) -> Result<u8, Failure> {
    put(&text(args.kind));
    Ok(0)
}

fn text(kind: SchemaKind) -> String {
    let schema: Schema = match kind {
        SchemaKind::Board => schema_for!(Board),
        SchemaKind::Image => schema_for!(Image),
        SchemaKind::Lab => schema_for!(Lab),
        SchemaKind::Machine => schema_for!(Machine),
        SchemaKind::Suite => schema_for!(SuiteFile),
    };
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_committed_schemas_are_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let kinds = [
            (SchemaKind::Board, "boards/board.schema.json", "board"),
            (SchemaKind::Image, "fixtures/examples/image.schema.json", "image"),
            (SchemaKind::Lab, "harness/lab/lab.schema.json", "lab"),
            (SchemaKind::Machine, "qemu-configs/machine.schema.json", "machine"),
            (SchemaKind::Suite, "fixtures/examples/suite.schema.json", "suite"),
        ];
        for (kind, file, name) in kinds {
            let committed = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            assert!(committed == text(kind), "stale: hil schema {name} >{file}");
        }
    }
}
