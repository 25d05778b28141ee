//! The pictures of the page: mosaic, lesions, registered images, brain mask.

use crate::case::Case;
use crate::options::Options;
use crate::overlay::{self, Outline};
use crate::picture::{Overlay, PictureError};
use crate::plane::{View, Window};
use crate::sample::Sampler;
use crate::scene::Scene;
use crate::shape::Shape;
use sdk::serde::Serialize;
use sdk::{Context, Grid, Labels, Mask, Probability};

/// A picture in two layers, ready for the page.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Figure {
    /// Width in dots.
    pub width: usize,
    /// Height in dots.
    pub height: usize,
    /// Source of the grey layer.
    pub base: String,
    /// Source of the layer above, if anything is drawn on it.
    pub overlay: Option<String>,
    /// Text below.
    pub caption: String,
    /// Text for those who cannot see it.
    pub description: String,
}

/// The pictures of one lesion.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct LesionFigures {
    /// Its label.
    pub lesion: u32,
    /// Volume in mm3.
    pub volume_mm3: f64,
    /// Axial, coronal, sagittal.
    pub views: Vec<Figure>,
}

/// The pictures of one registered image.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct ImageFigures {
    /// Its name among the images.
    pub name: String,
    /// Axial, coronal, sagittal.
    pub views: Vec<Figure>,
}

/// What is drawn over the reference.
#[derive(Debug, Default)]
pub struct Drawn<'a> {
    scores: Option<Sampler<'a, f32>>,
    outlines: Vec<(Outline, Sampler<'a, u32>)>,
    display_threshold: f64,
}

impl<'a> Drawn<'a> {
    /// Nothing yet; scores will be shown from `display_threshold`.
    pub fn new(options: &Options) -> Self {
        Self { scores: None, outlines: Vec::new(), display_threshold: options.display_threshold }
    }

    /// Adds the network score.
    pub fn scores(&mut self, scores: Option<&'a Probability>, grid: &Grid) {
        self.scores = scores.and_then(|scores| Sampler::new(scores, grid));
    }

    /// Adds an outline around each label.
    pub fn outline(&mut self, outline: Outline, labels: Option<&'a Labels>, grid: &Grid) {
        self.outlines.extend(labels.and_then(|l| Sampler::new(l, grid)).map(|sampler| (outline, sampler)));
    }

    /// The overlay of a window; accepted lesions are numbered if `numbers`.
    fn layer(&self, window: &Window, numbers: bool) -> Overlay {
        let mut layer = Overlay::clear(window.dots);
        if let Some(scores) = &self.scores {
            overlay::draw_score(&mut layer, &scores.linear_in(window), self.display_threshold);
        }
        for (outline, labels) in &self.outlines {
            overlay::draw_outline(&mut layer, &labels.nearest_in(window, 0), *outline);
        }
        if let Some((_, labels)) = self.outlines.iter().find(|(o, _)| numbers && *o == Outline::Accepted) {
            overlay::draw_numbers(&mut layer, &labels.nearest_in(window, 0));
        }
        layer
    }
}

/// Dots along the longer side of a mosaic tile and of the quality pictures.
const TILE_DOTS: usize = 256;
/// Dots along the side of a lesion's picture.
const LESION_DOTS: usize = 192;
/// Dots of a picture for one dot of its letters: pictures are shown smaller than drawn.
const LETTER_SCALE: usize = 2;
/// Least side of a lesion's picture in mm: enough brain around a small lesion to recognise the place.
const LESION_MM: f64 = 50.0;

/// `low` to `high` of a slice, and what is said about it.
struct Sheet {
    window: Window,
    numbers: bool,
    about: String,
}

fn place(grid: &Grid, window: &Window) -> String {
    let mut middle = grid.shape.map(|n| (n as f64 - 1.0) / 2.0);
    middle[window.plane.through] = window.slice as f64;
    let world = grid.voxel_to_world.point(middle);
    let (mm, letters) = match window.plane.view {
        View::Axial => (world[2], ['S', 'I']),
        View::Coronal => (world[1], ['A', 'P']),
        View::Sagittal => (world[0], ['R', 'L']),
    };
    let letter = if mm >= 0.0 { letters[0] } else { letters[1] };
    format!("slice {} · {letter} {:.0} mm", window.slice, mm.abs())
}

fn paint(scene: &Scene<'_>, drawn: &Drawn<'_>, sheet: &Sheet) -> Result<Figure, PictureError> {
    let layer = drawn.layer(&sheet.window, sheet.numbers);
    let place = place(scene.grid(), &sheet.window);
    let description = format!("{}, {} view, {place}", sheet.about, sheet.window.plane.view.name());
    finish(scene, &sheet.window, layer, &overlay::palette(), Text { caption: place, description })
}

/// What is said about a picture.
struct Text {
    caption: String,
    description: String,
}

/// The reference with its marks below a layer; the marks stay in sight.
fn finish(
    scene: &Scene<'_>,
    window: &Window,
    mut layer: Overlay,
    palette: &[[u8; 4]],
    text: Text,
) -> Result<Figure, PictureError> {
    let plain = scene.base(window);
    let mut base = plain.clone();
    base.mark(window, LETTER_SCALE);
    layer.clear_where_differ(&plain, &base);
    Ok(Figure {
        width: window.dots[0],
        height: window.dots[1],
        base: base.to_source()?,
        overlay: if layer.is_clear() { None } else { Some(layer.to_source(palette)?) },
        caption: text.caption,
        description: text.description,
    })
}

fn paint_all(
    scene: &Scene<'_>,
    drawn: &Drawn<'_>,
    sheets: &[Sheet],
    ctx: &Context,
) -> Result<Vec<Figure>, PictureError> {
    ctx.map(sheets.len(), |n| paint(scene, drawn, &sheets[n])).into_iter().collect()
}

/// The slices of a mosaic from bottom to top: of each slab the one with most lesion, or its middle if it has none.
pub fn mosaic_slices(bounds: [usize; 2], count: usize, shapes: &[Shape]) -> Vec<usize> {
    let [first, last] = bounds;
    let slices = last - first + 1;
    let slabs = count.min(slices);
    let lesion = |slice: usize| shapes.iter().filter_map(|shape| shape.slices.get(&slice)).sum::<usize>();
    let slab = |n: usize| {
        let (low, high) = (first + n * slices / slabs, first + (n + 1) * slices / slabs);
        let mut chosen = low.midpoint(high - 1);
        for slice in low..high {
            if lesion(slice) > lesion(chosen) {
                chosen = slice;
            }
        }
        chosen
    };
    (0..slabs).map(slab).collect()
}

/// Axial slices over the whole brain.
///
/// # Errors
/// [`PictureError`] if a picture cannot be encoded.
pub fn mosaic(
    scene: &Scene<'_>,
    drawn: &Drawn<'_>,
    shapes: &[Shape],
    count: usize,
    ctx: &Context,
) -> Result<Vec<Figure>, PictureError> {
    let plane = scene.plane(View::Axial);
    // World z may fall along the stored axis; the page always runs from bottom to top.
    let upwards = scene.grid().voxel_to_world.linear()[(2, plane.through)] >= 0.0;
    let mut slices = mosaic_slices(scene.bounds(plane.through), count, shapes);
    if !upwards {
        slices.reverse();
    }
    let sheet = |slice| Sheet {
        window: scene.window(&plane, slice, TILE_DOTS),
        numbers: true,
        about: "Brain with network score and outlines".to_owned(),
    };
    let sheets: Vec<Sheet> = slices.into_iter().map(sheet).collect();
    paint_all(scene, drawn, &sheets, ctx)
}

/// The lesions, largest first, each in three views.
///
/// # Errors
/// [`PictureError`] if a picture cannot be encoded.
pub fn lesions(
    scene: &Scene<'_>,
    drawn: &Drawn<'_>,
    shapes: &[Shape],
    count: usize,
    ctx: &Context,
) -> Result<Vec<LesionFigures>, PictureError> {
    let mut largest: Vec<&Shape> = shapes.iter().collect();
    largest.sort_by(|a, b| b.volume_mm3.total_cmp(&a.volume_mm3).then(a.label.cmp(&b.label)));
    largest.truncate(count);
    let sheets: Vec<Sheet> =
        largest.iter().flat_map(|shape| View::ALL.map(|view| lesion_sheet(scene, shape, view))).collect();
    let mut figures = paint_all(scene, drawn, &sheets, ctx)?.into_iter();
    let of = |shape: &&Shape| LesionFigures {
        lesion: shape.label,
        volume_mm3: shape.volume_mm3,
        views: figures.by_ref().take(View::ALL.len()).collect(),
    };
    Ok(largest.iter().map(of).collect())
}

fn lesion_sheet(scene: &Scene<'_>, shape: &Shape, view: View) -> Sheet {
    let plane = scene.plane(view);
    let slice = if view == View::Axial {
        shape.largest_slice()
    } else {
        shape.centre[plane.through].round() as usize
    };
    let corner = |end: usize| [0, 1, 2].map(|axis| shape.bounds[axis][end]);
    let (a, b) = (plane.place_mm(corner(0)), plane.place_mm(corner(1)));
    let centre = [0, 1].map(|e| f64::midpoint(a[e], b[e]));
    let extent = (0..2).map(|e| (a[e] - b[e]).abs()).fold(0.0, f64::max);
    // Twice the lesion, so that its surroundings can be seen.
    let half = (extent.max(LESION_MM / 2.0)).min(f64::from(u16::MAX));
    let (low, high) = (centre.map(|c| c - half), centre.map(|c| c + half));
    Sheet {
        window: plane.window(slice, low, high, 2.0 * half / LESION_DOTS as f64),
        numbers: false,
        about: format!("Lesion {}", shape.label),
    }
}

/// Each image as a checkerboard with the reference in three views; the reference itself is left out.
///
/// # Errors
/// [`PictureError`] if a picture cannot be encoded.
pub fn registered(scene: &Scene<'_>, case: &Case, ctx: &Context) -> Result<Vec<ImageFigures>, PictureError> {
    let mut sets = Vec::new();
    for (name, image) in case.images.iter().filter(|(_, image)| !case.is_backdrop(image)) {
        let Some(sampler) = Sampler::new(image, scene.grid()) else { continue };
        let views = ctx.map(View::ALL.len(), |n| checker(scene, &sampler, name, View::ALL[n]));
        sets.push(ImageFigures { name: name.clone(), views: views.into_iter().collect::<Result<_, _>>()? });
    }
    Ok(sets)
}

fn middle_window(scene: &Scene<'_>, view: View) -> Window {
    let plane = scene.plane(view);
    scene.window(&plane, scene.middle()[plane.through], TILE_DOTS)
}

fn checker(
    scene: &Scene<'_>,
    image: &Sampler<'_, f32>,
    name: &str,
    view: View,
) -> Result<Figure, PictureError> {
    let window = middle_window(scene, view);
    let greys = scene.greys_of(&window, image);
    let layer = overlay::checkerboard(&window, &greys, |n| scene.shows(window.index(n)));
    let place = place(scene.grid(), &window);
    let text = Text {
        caption: format!("{} · {place}", view.name()),
        description: format!("Checkerboard of {name} and the reference, {} view, {place}", view.name()),
    };
    finish(scene, &window, layer, &overlay::checker_palette(), text)
}

/// The outline of the brain mask in three views.
///
/// # Errors
/// [`PictureError`] if a picture cannot be encoded.
pub fn mask_outline(scene: &Scene<'_>, mask: &Mask) -> Result<Vec<Figure>, PictureError> {
    let Some(sampler) = Sampler::new(mask, scene.grid()) else { return Ok(Vec::new()) };
    let view = |view: View| {
        let window = middle_window(scene, view);
        let inside: Vec<u32> = sampler.nearest_in(&window, 0).into_iter().map(u32::from).collect();
        let mut layer = Overlay::clear(window.dots);
        overlay::draw_outline(&mut layer, &inside, Outline::Mask);
        let place = place(scene.grid(), &window);
        let text = Text {
            caption: format!("{} · {place}", view.name()),
            description: format!("Outline of the brain mask, {} view, {place}", view.name()),
        };
        finish(scene, &window, layer, &overlay::palette(), text)
    };
    View::ALL.into_iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_mosaic_takes_the_slice_with_most_lesion_of_each_slab() {
        let shape = Shape {
            label: 1,
            voxels: 12,
            volume_mm3: 12.0,
            centre: [0.0; 3],
            bounds: [[0.0; 2]; 3],
            slices: BTreeMap::from([(13, 2), (14, 9), (15, 1)]),
        };
        assert_eq!(mosaic_slices([10, 29], 4, &[shape]), [14, 15, 22, 27]);
        assert_eq!(mosaic_slices([3, 4], 9, &[]), [3, 4], "no slice is shown twice");
    }
}
