//! The volumes that the page's viewer shows: 8-bit images, score and labels on one grid.
//!
//! Only what the pictures may show is embedded: voxels beyond mask and margin are 0. Together they keep to a size; where they
//! would exceed it, bytes are first kept to within 1 or 2 of 255, then all volumes become coarser, and the page says so.

use crate::case::Case;
use crate::display::{Display, DisplayGrid};
use crate::options::Options;
use crate::overlay::{Outline, score_colour};
use crate::packing;
use crate::picture::Contrast;
use crate::sample::Sampler;
use crate::scene::Scene;
use sdk::serde::Serialize;
use sdk::{Context, Grid, Image, OperatorError, Probability, Volume, VolumeKind};

/// All volumes of a page.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
pub struct Volumes {
    /// What the viewer reads first, as JSON that can stand inside a script element.
    pub head: String,
    /// Packed volumes; `volume-0` is the first.
    pub blocks: Vec<String>,
}

/// What the viewer reads first.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
struct Head {
    grid: DisplayGrid,
    /// Whether the viewer's voxels are larger than those of the reference.
    coarse: bool,
    /// Steps in which differences from the prediction are stored.
    step: i32,
    /// The darkest byte that is shown; 0 is not shown.
    darkest: u8,
    images: Vec<ImageHead>,
    /// Block of the score.
    score: Option<usize>,
    /// Blocks of the labels by kind.
    labels: Vec<(&'static str, usize)>,
    /// Scores below are stored as 0.
    display_threshold: f64,
    /// Colours of the score from the display threshold to one.
    score_colours: Vec<String>,
    /// Colours of outlines by kind.
    outlines: Vec<(&'static str, String)>,
}

/// One image: byte 0 is not shown, [`DARKEST`] is `low`, 255 is `high`.
#[derive(Clone, Debug, Serialize)]
#[serde(crate = "sdk::serde")]
struct ImageHead {
    name: String,
    block: usize,
    low: f32,
    high: f32,
    /// Intensities shown as black and white at first.
    black: f32,
    white: f32,
}

/// How far beyond black and white intensities are kept, in parts of their distance: room to change window and level, while the
/// greys of the first window stay as many as an eye can tell apart.
const BELOW: f32 = 0.2;
/// The same towards bright: enhancement and vessels.
const ABOVE: f32 = 0.8;

/// Slices of which one is packed to foretell the size of the whole.
const PROBED: usize = 16;

/// Byte of the lowest intensity: room below, so that what is shown and what is not stay apart when bytes are rounded.
const DARKEST: u8 = 8;

/// Steps of the bytes, tried in this order; the errors of the last are below what a screen shows.
const STEPS: [i32; 3] = [1, 3, 5];

/// Coarser steps that are tried before the viewer is left out.
const MOST_COARSE: usize = 8;

/// An image and what its bytes mean.
struct Source<'a> {
    name: &'a str,
    reader: Reader<'a, f32>,
    low: f32,
    high: f32,
    contrast: Contrast,
}

/// A volume as it is read on the viewer's grid.
struct Reader<'a, T> {
    /// The voxels themselves, where the volume lies on the reference's grid.
    voxels: Option<&'a [T]>,
    sampler: Sampler<'a, T>,
}

impl<'a, T: Copy> Reader<'a, T> {
    fn new<K: VolumeKind<Voxel = T>>(volume: &'a Volume<K>, grid: &Grid) -> Option<Self> {
        let sampler = Sampler::new(volume, grid)?;
        Some(Self { voxels: volume.grid().matches(grid).then(|| volume.voxels()), sampler })
    }
}

/// Which offsets of the reference each voxel of the viewer covers.
struct Blocks {
    shape: [usize; 3],
    steps: [Vec<Vec<usize>>; 3],
    /// The steps where each block is one voxel.
    single: Option<[Vec<usize>; 3]>,
}

impl Blocks {
    fn of(display: &Display) -> Self {
        let steps = [0, 1, 2].map(|axis| display.steps(axis));
        let single = display.is_full().then(|| [0, 1, 2].map(|axis: usize| steps[axis].concat()));
        Self { shape: display.shape(), steps, single }
    }

    /// Calls `each` with the offsets that voxel `index` covers.
    fn visit(&self, index: [usize; 3], mut each: impl FnMut(usize)) {
        if let Some(single) = &self.single {
            return each(single[0][index[0]] + single[1][index[1]] + single[2][index[2]]);
        }
        for k in &self.steps[2][index[2]] {
            for j in &self.steps[1][index[1]] {
                for i in &self.steps[0][index[0]] {
                    each(i + j + k);
                }
            }
        }
    }

    /// One slice along the third axis, voxel by voxel.
    fn slice<T>(&self, k: usize, voxel: impl Fn([usize; 3]) -> T) -> Vec<T> {
        let [nx, ny, _] = self.shape;
        let mut out = Vec::with_capacity(nx * ny);
        for j in 0..ny {
            out.extend((0..nx).map(|i| voxel([i, j, k])));
        }
        out
    }
}

/// Everything that is embedded, ready to be read on any viewer's grid.
struct Content<'a> {
    scene: &'a Scene<'a>,
    images: Vec<Source<'a>>,
    score: Option<Reader<'a, f32>>,
    display_threshold: f64,
}

impl<'a> Content<'a> {
    fn of(case: &'a Case, scene: &'a Scene<'a>, options: &Options) -> Self {
        let grid = scene.grid();
        let mut named: Vec<(&str, &Image)> = Vec::new();
        named.extend(case.backdrop().map(|image| (case.backdrop_name(), image)));
        let others = case.images.iter().filter(|(_, image)| !case.is_backdrop(image));
        named.extend(others.map(|(name, image)| (name.as_str(), image)));
        let images = named.into_iter().filter_map(|(name, image)| Source::of(name, image, scene)).collect();
        let score = case.probability.as_ref().and_then(|score: &Probability| Reader::new(score, grid));
        Self { scene, images, score, display_threshold: options.display_threshold }
    }

    /// One slice of an image as bytes.
    fn image_slice(&self, source: &Source<'_>, display: &Display, blocks: &Blocks, k: usize) -> Vec<u8> {
        blocks.slice(k, |index| {
            let (mut sum, mut count) = (0.0, 0u32);
            blocks.visit(index, |offset| {
                if self.scene.shows_offset(offset) {
                    count += 1;
                    sum += source.reader.voxels.map_or(0.0, |voxels| voxels[offset]);
                }
            });
            match (count, source.reader.voxels) {
                (0, _) => 0,
                (_, Some(_)) => source.byte(sum / count as f32),
                (_, None) => source.byte(source.reader.sampler.linear(display.centre(index))),
            }
        })
    }

    /// One slice of the score as bytes: the largest of each block, 0 below the display threshold.
    fn score_slice(&self, reader: &Reader<'_, f32>, display: &Display, blocks: &Blocks, k: usize) -> Vec<u8> {
        blocks.slice(k, |index| {
            let mut largest = 0.0f32;
            match reader.voxels {
                Some(voxels) => blocks.visit(index, |offset| largest = largest.max(voxels[offset])),
                None => largest = reader.sampler.linear(display.centre(index)),
            }
            let shown = f64::from(largest) >= self.display_threshold;
            if shown { ((largest.clamp(0.0, 1.0) * 255.0).round() as u8).max(DARKEST) } else { 0 }
        })
    }

    /// All volumes of bytes: the images, then the score.
    fn byte_slice(&self, volume: usize, display: &Display, blocks: &Blocks, k: usize) -> Vec<u8> {
        match (self.images.get(volume), &self.score) {
            (Some(source), _) => self.image_slice(source, display, blocks, k),
            (None, Some(score)) => self.score_slice(score, display, blocks, k),
            (None, None) => Vec::new(),
        }
    }

    fn byte_volumes(&self) -> usize {
        self.images.len() + usize::from(self.score.is_some())
    }

    /// The smallest step with which all volumes keep to the budget, and their packed length, both from some of the slices.
    fn foretold(&self, display: &Display, budget: usize, ctx: &Context) -> (i32, usize) {
        let blocks = Blocks::of(display);
        let [nx, ny, nz] = blocks.shape;
        let probed: Vec<usize> = (0..nz).skip(PROBED.min(nz) / 2).step_by(PROBED).collect();
        let volumes = ctx.map(self.byte_volumes(), |volume| {
            let slices = probed.iter().flat_map(|&k| self.byte_slice(volume, display, &blocks, k));
            slices.collect::<Vec<u8>>()
        });
        let mut foretold = (1, 0);
        for step in STEPS {
            let length = |n: usize| packing::packed(&packing::predicted(&volumes[n], nx, ny, step)).len();
            let lengths = ctx.map(volumes.len(), length);
            foretold = (step, lengths.iter().sum::<usize>() * nz / probed.len().max(1));
            if foretold.1 <= budget {
                break;
            }
        }
        foretold
    }

    /// The packed volumes of bytes.
    fn packed(&self, display: &Display, step: i32, ctx: &Context) -> Vec<String> {
        let blocks = Blocks::of(display);
        let [nx, ny, nz] = blocks.shape;
        let mut volumes = Vec::new();
        for volume in 0..self.byte_volumes() {
            let slices = ctx.map(nz, |k| {
                let bytes = self.byte_slice(volume, display, &blocks, k);
                packing::predicted(&bytes, nx, ny, step)
            });
            volumes.push(slices.concat());
        }
        ctx.map(volumes.len(), |n| packing::packed(&volumes[n]))
    }
}

impl<'a> Source<'a> {
    fn of(name: &'a str, image: &'a Image, scene: &Scene<'_>) -> Option<Self> {
        let reader = Reader::new(image, scene.grid())?;
        let (contrast, [least, most]) = scene.intensities(&reader.sampler);
        let span = contrast.white - contrast.black;
        let low = (contrast.black - BELOW * span).max(least);
        let high = (contrast.white + ABOVE * span).min(most);
        Some(Self { name, reader, low, high, contrast })
    }

    fn byte(&self, value: f32) -> u8 {
        let share = (value - self.low) / (self.high - self.low);
        // NaN, and a constant image, become the darkest shown grey.
        DARKEST + (share * f32::from(255 - DARKEST)).round().clamp(0.0, 255.0) as u8
    }
}

/// The volumes of a case; `None` where even the coarsest would be too large.
///
/// # Errors
/// When the run is cancelled.
pub fn volumes(
    case: &Case,
    scene: &Scene<'_>,
    options: &Options,
    ctx: &Context,
) -> Result<Option<Volumes>, OperatorError> {
    let content = Content::of(case, scene, options);
    let budget = options.volume_bytes();
    let mut display = Display::of(scene);
    let full = display.len();
    let (step, foretold) = content.foretold(&display, budget, ctx);
    let excess = foretold as f64 / budget as f64;
    while excess * display.len() as f64 > full as f64 && display.len() > 1 {
        display = display.coarser(scene.grid());
    }
    for _ in 0..MOST_COARSE {
        ctx.check_cancelled()?;
        let mut blocks = content.packed(&display, step, ctx);
        let labels = labels(case, scene.grid(), &display, &mut blocks);
        if blocks.iter().map(String::len).sum::<usize>() <= budget {
            let head = head(&content, &display, step, labels);
            return Ok(Some(Volumes { head: for_script(&serde_json::to_string(&head)?), blocks }));
        }
        display = display.coarser(scene.grid());
    }
    Ok(None)
}

/// Appends the labels' blocks; tells which is what.
fn labels(
    case: &Case,
    grid: &Grid,
    display: &Display,
    blocks: &mut Vec<String>,
) -> Vec<(&'static str, usize)> {
    let mut named = Vec::new();
    let mut add = |name: &'static str, labels: Vec<u32>| {
        named.push((name, blocks.len()));
        blocks.push(packing::packed(&packing::runs(&labels)));
    };
    let kinds = [
        ("accepted", &case.lesions),
        ("below_size", &case.below_size),
        ("rejected", &case.rejected),
        ("truth", &case.truth),
    ];
    for (name, labels) in kinds {
        if let Some(reader) = labels.as_ref().and_then(|labels| Reader::new(labels, grid)) {
            add(name, on_display(&reader, display, |label| label));
        }
    }
    if let Some(reader) = case.mask.as_ref().and_then(|mask| Reader::new(mask, grid)) {
        add("mask", on_display(&reader, display, u32::from));
    }
    named
}

/// Labels on the viewer's grid: of a block the first that is there, so that no small lesion is lost.
fn on_display<T: Copy>(reader: &Reader<'_, T>, display: &Display, label: impl Fn(T) -> u32) -> Vec<u32> {
    let blocks = Blocks::of(display);
    let voxel = |index: [usize; 3]| match reader.voxels {
        Some(voxels) => {
            let mut found = 0;
            blocks.visit(index, |offset| {
                if found == 0 {
                    found = label(voxels[offset]);
                }
            });
            found
        }
        None => reader.sampler.nearest(display.centre(index)).map_or(0, &label),
    };
    (0..blocks.shape[2]).flat_map(|k| blocks.slice(k, voxel)).collect()
}

/// Steps of the score's colours.
const SCORE_COLOURS: usize = 32;

fn head(content: &Content<'_>, display: &Display, step: i32, labels: Vec<(&'static str, usize)>) -> Head {
    let images = content.images.iter().enumerate();
    Head {
        grid: display.describe(content.scene.grid()),
        coarse: !display.is_full(),
        step,
        darkest: DARKEST,
        images: images
            .map(|(block, source)| ImageHead {
                name: source.name.to_owned(),
                block,
                low: source.low,
                high: source.high,
                black: source.contrast.black,
                white: source.contrast.white,
            })
            .collect(),
        score: content.score.is_some().then_some(content.images.len()),
        labels,
        display_threshold: content.display_threshold,
        score_colours: (0..SCORE_COLOURS)
            .map(|n| hex(score_colour(n as f64 / (SCORE_COLOURS - 1) as f64)))
            .collect(),
        outlines: Outline::ALL.map(|outline| (outline.name(), hex(outline.colour()))).to_vec(),
    }
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// JSON in which nothing can end or begin an element.
fn for_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use sdk::Labels;
    use sdk::testing::{ball, ball_mask, context};

    fn case() -> Case {
        let grid = Grid::axis_aligned([40, 40, 40], [1.0; 3]);
        let mut lesion = vec![0; grid.len()];
        lesion[grid.offset([20, 21, 22])] = 5;
        let mut noise = ball(grid, [20.0; 3], 18.0, 100.0).voxels().to_vec();
        for (n, voxel) in noise.iter_mut().enumerate() {
            *voxel *= ((n * 7919) % 251) as f32;
        }
        Case {
            reference: Some(Image::new(grid, noise).unwrap()),
            images: vec![("a<b".to_owned(), ball(grid, [20.0; 3], 18.0, 7.0))],
            mask: Some(ball_mask(grid, [20.0; 3], 10.0)),
            lesions: Some(Labels::new(grid, lesion).unwrap()),
            ..Case::default()
        }
    }

    fn made(options: &Options) -> (serde_json::Value, Volumes) {
        let case = case();
        let scene = Scene::new(case.backdrop(), case.mask.as_ref(), options).unwrap();
        let volumes = volumes(&case, &scene, options, &context()).unwrap().unwrap();
        (serde_json::from_str(&volumes.head).unwrap(), volumes)
    }

    fn unpacked(block: &str, length: usize) -> Vec<u8> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(block).unwrap();
        let mut out = vec![0; length];
        let found = libdeflater::Decompressor::new().zlib_decompress(&bytes, &mut out).unwrap();
        out.truncate(found);
        out
    }

    #[test]
    fn nothing_beyond_mask_and_margin_is_embedded() {
        let options = Options { margin_mm: 2.0, ..Options::default() };
        let (head, volumes) = made(&options);
        // The ball of 10 mm and 2 mm on each side.
        assert_eq!(head["grid"]["shape"], serde_json::json!([25, 25, 25]));
        let corner = unpacked(&volumes.blocks[0], 25 * 25 * 25)[0];
        assert_eq!(corner, 0, "a corner of the box lies beyond the mask");
        assert!(!volumes.head.contains('<') && head["images"][1]["name"] == "a<b");
    }

    #[test]
    fn a_lesion_of_one_voxel_survives_a_coarser_grid() {
        let (full, _) = made(&Options::default());
        let (head, volumes) = made(&Options { viewer_mb: 0.002, ..Options::default() });
        assert_eq!((&full["coarse"], &head["coarse"]), (&false.into(), &true.into()));
        let block = head["labels"][0][1].as_u64().unwrap() as usize;
        let runs = unpacked(&volumes.blocks[block], 64);
        assert_eq!(runs.last(), Some(&5), "the label is still there: {runs:?}");
        assert!(volumes.blocks.iter().map(String::len).sum::<usize>() <= 2000);
    }
}
