//! The runner: image preparation, sessions, cases, keeper; over the traits of hil-core only
