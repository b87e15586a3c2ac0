//! What kind of medium a disk pretends to be, and what that means for durability. How a cut is drawn
//! from it is `cut`'s.

/// The medium. More will come (a prefix-only cache, an eMMC with its cache on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Profile {
    /// A disk with a volatile write-back cache that offers FLUSH and FUA, as virtio-blk has it.
    #[default]
    VirtioWb,
    /// An SD card or eMMC with its cache off: what was completed is durable, what is in flight
    /// tears. It offers neither FLUSH nor FUA, since the emulated cards send none.
    EmmcCacheOff,
}

impl Profile {
    /// Whether FLUSH and FUA are offered to the guest.
    pub fn has_cache(self) -> bool {
        match self {
            Profile::VirtioWb => true,
            Profile::EmmcCacheOff => false,
        }
    }

    /// The name used in reports and board files.
    pub fn name(self) -> &'static str {
        match self {
            Profile::VirtioWb => "virtio-wb",
            Profile::EmmcCacheOff => "emmc-cache-off",
        }
    }

    /// The profile of a name.
    pub fn from_name(name: &str) -> Option<Profile> {
        [Profile::VirtioWb, Profile::EmmcCacheOff].into_iter().find(|p| p.name() == name)
    }
}

/// What a power cut may make of discarded sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discard {
    /// Old content or zero, also after a flush, until the sectors are written again and that is
    /// durable. A discard is a hint; the standards promise no more.
    #[default]
    OldOrZero,
    /// A discard is a write of zeros.
    Zero,
}
