//! QEMU machines: probe, launch, QMP, and nothing left behind
