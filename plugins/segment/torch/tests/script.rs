//! TorchScript models through the operator, held against what `make_unet.py` made in PyTorch.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use neuroloom_segment::backend::Precision;
use neuroloom_segment::{Options, Segment};
use sdk::testing::{context, context_with};
use sdk::{AnyVolume, FileSetting, Grid, Image, Inputs, Operator, OperatorError, Outputs, Place, Value};
use std::path::{Path, PathBuf};

/// Voxels of the golden volume along `i`, `j`, `k`.
const SHAPE: [usize; 3] = [30, 26, 21];
/// How far scores may lie from PyTorch's: sums in f32 in another order.
const TOLERANCE: f32 = 1e-4;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn place() -> Place {
    let plugin_dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    Place { device: "cpu".to_owned(), plugin_dir, ..Place::default() }
}

fn options(model: &Path) -> Options {
    Options { models: vec![FileSetting(model.to_owned())], ..Options::default() }
}

/// The volume of `make_unet.py`.
fn case() -> Inputs {
    let grid = Grid::axis_aligned(SHAPE, [1.0, 1.5, 2.0]);
    let mut inputs = Inputs::new();
    for (c, name) in ["t1_post", "flair"].iter().enumerate() {
        let voxel = |at: usize| {
            let [i, j, k] = grid.index(at);
            (((7 * i + 5 * j + 3 * k + 11 * i * j + 13 * c * k) % 37) as f64 / 36.0) as f32
        };
        let image = Image::new(grid, (0..grid.len()).map(voxel).collect::<Vec<_>>()).unwrap();
        inputs.insert("channels", name, Value::from(image));
    }
    inputs
}

fn voxels(outputs: &Outputs, port: &str) -> Vec<f32> {
    match outputs.value(port).and_then(Value::volume) {
        Some(AnyVolume::Probability(volume)) => volume.voxels().to_vec(),
        _ => panic!("no `{port}`"),
    }
}

fn reference(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden("unet_blended.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (numbers, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn largest_difference(found: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(found.len(), reference.len());
    found.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_3d_unet_by_sliding_window_agrees_with_the_same_blending_in_pytorch() {
    let mut segment = Segment::open(options(&golden("unet.pt")), &place()).unwrap();
    let found = voxels(&segment.run(&case(), &context_with(2)).unwrap(), "probability");
    let apart = largest_difference(&found, &reference("plain"));
    println!("largest difference {apart:e}");
    assert!(apart <= TOLERANCE, "{apart}");
    let again = voxels(&segment.run(&case(), &context_with(1)).unwrap(), "probability");
    assert_eq!(again, found, "the number of threads changes no bit");
    let facts = segment.run(&case(), &context()).unwrap().facts("probability");
    assert_eq!(facts.get("model").unwrap()["name"], "golden-unet");
    assert!(facts.warnings()[0].starts_with("UNTRAINED MODEL"), "{facts:?}");
}

#[test]
fn mirrored_looks_and_their_spread_agree_with_pytorch() {
    let options = Options { views: 4, batch: 3, ..options(&golden("unet.pt")) };
    let outputs = Segment::open(options, &place()).unwrap().run(&case(), &context_with(2)).unwrap();
    for (port, name) in [("probability", "mirrored"), ("spread", "spread")] {
        let apart = largest_difference(&voxels(&outputs, port), &reference(name));
        println!("{name}: largest difference {apart:e}");
        assert!(apart <= TOLERANCE, "{name}: {apart}");
    }
}

#[test]
fn bf16_gives_nearly_the_same_scores() {
    let options = Options { precision: Precision::Bf16, ..options(&golden("unet.pt")) };
    let outputs = Segment::open(options, &place()).unwrap().run(&case(), &context()).unwrap();
    let (found, reference) = (voxels(&outputs, "probability"), reference("plain"));
    let apart = largest_difference(&found, &reference);
    println!("bf16: largest difference {apart:e}");
    // Three significant digits in a dozen layers' sums; a score's slope is at most a quarter of its logit's.
    assert!(apart > 0.0 && apart < 0.02, "{apart}");
    assert_eq!(outputs.facts("probability").get("precision"), Some(&"bf16".into()));
}

/// The golden network under a card with other lines.
fn with_card(changes: &[(&str, &str)]) -> Result<Segment, OperatorError> {
    let folder = tempfile::tempdir().unwrap();
    let mut card = std::fs::read_to_string(golden("unet.toml")).unwrap();
    for (from, to) in changes {
        assert!(card.contains(from), "{from}");
        card = card.replace(from, to);
    }
    std::fs::copy(golden("unet.pt"), folder.path().join("unet.pt")).unwrap();
    std::fs::write(folder.path().join("unet.toml"), card).unwrap();
    Segment::open(options(&folder.path().join("unet.pt")), &place())
}

#[test]
fn a_card_that_contradicts_the_network_is_an_error_when_the_stage_opens() {
    let third = "{ name = \"flair\", optional = true }, { name = \"bravo\" }";
    let error = with_card(&[("{ name = \"flair\", optional = true }", third)]).unwrap_err();
    assert!(
        error.message.contains("unet.pt`: the network fails on an input of [1, 3, 8, 16, 16]"),
        "{error:?}"
    );
    assert!(error.hint.unwrap().contains("`channels`"));
    let classes =
        [("classes = [\"background\", \"lesion\"]", "classes = [\"background\", \"oedema\", \"lesion\"]")];
    let error = with_card(&classes).unwrap_err();
    assert!(
        error.message.contains("makes [1, 2, 8, 16, 16] where [1, 3, 8, 16, 16] is expected"),
        "{error:?}"
    );
    let error = with_card(&[("patch = [16, 16, 8]", "patch = [16, 16, 7]")]).unwrap_err();
    assert!(error.message.contains("the network fails on an input of [1, 2, 7, 16, 16]"), "{error:?}");
}

#[test]
fn an_ensemble_of_one_network_twice_is_that_network() {
    let files = [("version = \"1\"", "version = \"1\"\nfiles = [\"unet.pt\", \"unet.pt\"]")];
    let mut segment = with_card(&files).unwrap();
    let found = voxels(&segment.run(&case(), &context()).unwrap(), "probability");
    assert!(largest_difference(&found, &reference("plain")) <= TOLERANCE);
}

#[test]
fn a_file_cut_short_within_its_parts_is_an_error_when_the_stage_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.pt");
    let mut bytes = std::fs::read(golden("unet.pt")).unwrap();
    // The directory at the end stays; what lies before it is spoilt.
    let middle = bytes.len() / 2;
    bytes[64..middle].fill(0);
    std::fs::write(&path, bytes).unwrap();
    std::fs::copy(golden("unet.toml"), folder.path().join("unet.toml")).unwrap();
    let error = Segment::open(options(&path), &place()).unwrap_err();
    assert!(error.message.contains("libtorch cannot read the TorchScript file"), "{error:?}");
}
