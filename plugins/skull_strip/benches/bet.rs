//! How long a brain takes.

use divan::Bencher;
use divan::counter::ItemsCount;
use neuroloom_skull_strip::bet::{Options, find_brain};
use sdk::testing::context_with;
use sdk::{Grid, Image};

fn main() {
    divan::main();
}

/// Brain, CSF, bone and scalp as balls in each other.
fn head(grid: Grid) -> Image {
    let centre = grid.centre_world();
    let value = |offset: usize| {
        let p = grid.world(grid.index(offset));
        match (0..3).map(|axis| (p[axis] - centre[axis]).powi(2)).sum::<f64>().sqrt() {
            r if r < 65.0 => 100.0,
            r if r < 68.0 => 30.0,
            r if r < 75.0 => 5.0,
            r if r < 82.0 => 220.0,
            _ => 0.0,
        }
    };
    let voxels: Vec<f32> = (0..grid.len()).map(value).collect();
    Image::new(grid, voxels).expect("one number for each voxel")
}

/// The surface has the same number of vertices on any grid: does the time stay flat as voxels become more?
#[divan::bench(args = [100, 200, 300], sample_count = 10)]
fn find_brain_in_one_thread(bencher: Bencher<'_, '_>, side: usize) {
    let spacing_mm = 200.0 / side as f64;
    let image = head(Grid::axis_aligned([side; 3], [spacing_mm; 3]));
    let (options, ctx) = (Options::default(), context_with(1));
    let find = || find_brain(&image, &options, &ctx).expect("a ball is a brain");
    bencher.counter(ItemsCount::new(image.grid().len())).bench(find);
}
