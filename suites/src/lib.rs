//! The suites: boot, containers; limits, ota and power_cut to come
