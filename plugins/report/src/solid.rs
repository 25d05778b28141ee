//! The 3-D view of a page: `NiiVue`, which draws the volumes that the viewer has anyway.
//!
//! The program lies in the page packed and is run when a reader opens the view. Where it is from: `vendor/niivue/PROVENANCE.md`.

use crate::packing;
use sdk::serde::Serialize;

/// The program, as its package has it.
const PROGRAM: &[u8] = include_bytes!("../vendor/niivue/niivue.umd.js");

/// Its version, as the page names it.
const VERSION: &str = "0.69.0";

/// What the packed program may take of a page, in bytes: the viewer's volumes have so much less.
pub const MOST_BYTES: usize = 1_100_000;

/// What a page with a 3-D view holds.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Solid {
    /// Version of the program.
    pub version: &'static str,
    /// The program, packed.
    pub program: String,
}

impl Solid {
    /// Packs the program: a quarter of a second.
    pub fn pack() -> Self {
        Self { version: VERSION, program: packing::packed_small(PROGRAM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_that_was_looked_at_and_fits() {
        let digest = blake3::hash(PROGRAM).to_hex();
        assert_eq!(digest.as_str(), "e9356c8683e0eb9216c2f8f72116b012e2549eda6aa01cdeacda5551fa208dd6");
        let length = Solid::pack().program.len();
        assert!(length <= MOST_BYTES && length > MOST_BYTES / 2, "{length} bytes");
    }
}
