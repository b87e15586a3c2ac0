//! hil-qemu from outside, with real emulators. One program, so that it links once.

#[cfg(test)]
mod boards;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod guests;
#[cfg(test)]
mod keepers;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod saves;
