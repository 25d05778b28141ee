//! What a workflow can set about the page.

use crate::solid;
use sdk::JsonSchema;
use sdk::serde::{Deserialize, Serialize};

/// Settings of `case_report`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", deny_unknown_fields, default)]
#[schemars(crate = "sdk::schemars")]
pub struct Options {
    /// Embed images beyond the brain mask, or without a mask at all. Such images can show a face.
    pub embed_heads: bool,
    /// How far beyond the brain mask images are shown, in mm.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub margin_mm: f64,
    /// Network scores below this are not coloured. It is apart from the threshold that decides what a lesion is.
    #[schemars(range(min = 0.01, max = 0.99))]
    pub display_threshold: f64,
    /// Axial slices in the mosaic.
    #[schemars(range(min = 1, max = 40))]
    pub mosaic_slices: usize,
    /// Lesions that get their own pictures, largest first.
    #[schemars(range(min = 0, max = 40))]
    pub lesion_pictures: usize,
    /// Largest size of the viewer's volumes in the page, in millions of bytes: beyond it they have fewer greys, then become
    /// coarser. 0 leaves the viewer out.
    #[schemars(range(min = 0.0, max = 8.0))]
    pub viewer_mb: f64,
    /// A 3-D view of brain and lesions, which a reader can open below the viewer. It takes 1.1 million bytes of `viewer_mb`.
    pub view_3d: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            embed_heads: false,
            margin_mm: 3.0,
            display_threshold: 0.1,
            mosaic_slices: 24,
            lesion_pictures: 20,
            viewer_mb: 6.5,
            view_3d: false,
        }
    }
}

/// Least `viewer_mb` with a 3-D view: its program, and as much for volumes, in millions of bytes.
const LEAST_MB_3D: f64 = 2.2;

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("setting `{name}` is {found}, outside {low} to {high}\nhint: {hint}")]
pub struct OptionsError {
    name: &'static str,
    found: f64,
    low: f64,
    high: f64,
    hint: &'static str,
}

impl Options {
    /// What the viewer's volumes may take of the page, in bytes.
    pub const fn volume_bytes(&self) -> usize {
        let all = (self.viewer_mb * 1e6) as usize;
        if self.view_3d { all.saturating_sub(solid::MOST_BYTES) } else { all }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`OptionsError`] for the first setting out of its range.
    pub fn check(&self) -> Result<(), OptionsError> {
        let (least_mb, hint) = if self.view_3d {
            (LEAST_MB_3D, "`view_3d` shows the viewer's volumes, and needs its own part beside them")
        } else {
            (0.0, "a page of more than 10 MB opens slowly")
        };
        let ranges = [
            ("margin_mm", self.margin_mm, 0.0, 10.0, "a wide margin would show the face"),
            ("display_threshold", self.display_threshold, 0.01, 0.99, "0.1 shows all but the background"),
            ("mosaic_slices", self.mosaic_slices as f64, 1.0, 40.0, "more would make the page too large"),
            ("lesion_pictures", self.lesion_pictures as f64, 0.0, 40.0, "more would make the page too large"),
            ("viewer_mb", self.viewer_mb, least_mb, 8.0, hint),
        ];
        for (name, found, low, high, hint) in ranges {
            if !(low..=high).contains(&found) {
                return Err(OptionsError { name, found, low, high, hint });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named_with_its_limit() {
        let options = Options { margin_mm: 30.0, ..Options::default() };
        let text = options.check().unwrap_err().to_string();
        assert!(text.starts_with("setting `margin_mm` is 30, outside 0 to 10\nhint: "), "{text}");
        assert!(Options { display_threshold: f64::NAN, ..Options::default() }.check().is_err());
        assert_eq!(Options::default().check(), Ok(()));
        let text =
            Options { view_3d: true, viewer_mb: 0.0, ..Options::default() }.check().unwrap_err().to_string();
        assert!(text.starts_with("setting `viewer_mb` is 0, outside 2.2 to 8\nhint: `view_3d` "), "{text}");
    }

    #[test]
    fn the_readme_names_every_setting_with_its_default() {
        let defaults = serde_json::to_value(Options::default()).unwrap();
        for (name, default) in defaults.as_object().unwrap() {
            let row = format!("| `{name}` | `{default}` |");
            assert!(include_str!("../README.md").contains(&row), "the README lacks {row}");
        }
    }
}
