//! The serial console and SSH: capture, expect, login, shell
