//! By how much two files differ, for each kind of file. Numbers that do not exist are `None`, in JSON `null`.

use sdk::Grid;
use serde::Serialize;

/// The same of both folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// Of the first folder.
    pub a: T,
    /// Of the second.
    pub b: T,
}

impl<T> Pair<T> {
    /// Both, turned into something else.
    pub fn map<U>(self, mut turn: impl FnMut(T) -> U) -> Pair<U> {
        Pair { a: turn(self.a), b: turn(self.b) }
    }
}

/// By how much two files differ.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Measures {
    /// Two images.
    Image(ImageMeasures),
    /// Two probabilities.
    Probability(ProbabilityMeasures),
    /// Two masks.
    Mask(MaskMeasures),
    /// Two label volumes.
    Labels(LabelMeasures),
    /// Two transforms.
    Transform(TransformMeasures),
    /// Two tables.
    Table(TableMeasures),
    /// Two numbers.
    Number(NumberMeasures),
    /// Two texts or documents.
    Document(DocumentMeasures),
}

/// Where a volume's voxels lie, as people compare it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GridFacts {
    /// Voxels along `i`, `j`, `k`.
    pub shape: [usize; 3],
    /// Distance of neighbouring voxel centres along each, in mm.
    pub spacing_mm: [f64; 3],
    /// Where the axes run to, as in `RAS`.
    pub orientation: String,
}

impl GridFacts {
    /// Of a grid.
    pub fn of(grid: &Grid) -> Self {
        Self { shape: grid.shape, spacing_mm: grid.spacing_mm(), orientation: grid.orientation() }
    }
}

/// Differences of numbers, voxel by voxel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delta {
    /// Voxels of the grid.
    pub voxels: usize,
    /// Voxels that are not the same bit for bit.
    pub voxels_differ: usize,
    /// Largest absolute difference.
    pub largest: f64,
    /// Mean absolute difference over all voxels.
    pub mean: f64,
    /// Correlation over all voxels; none where one volume is constant.
    pub correlation: Option<f64>,
    /// Voxels that are finite in one volume only, or infinite with other signs; left out of all the rest.
    pub not_finite_differ: usize,
}

/// Two images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageMeasures {
    /// Whether both lie on one grid.
    pub same_grid: bool,
    /// The grids.
    pub grid: Pair<GridFacts>,
    /// Their differences; none on other grids.
    pub difference: Option<Delta>,
}

/// Two probabilities: `close` if no voxel is farther apart than a network's scores may be between devices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbabilityMeasures {
    /// As of images.
    #[serde(flatten)]
    pub image: ImageMeasures,
    /// Voxels farther apart than `1e-3 + 1e-4 |a|`; none on other grids.
    pub beyond_tolerance: Option<usize>,
}

/// Two masks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskMeasures {
    /// Whether both lie on one grid.
    pub same_grid: bool,
    /// The grids.
    pub grid: Pair<GridFacts>,
    /// Volume inside, in ml.
    pub volume_ml: Pair<f64>,
    /// Dice; none on other grids.
    pub dice: Option<f64>,
    /// Voxels inside one of the two only; none on other grids.
    pub voxels_differ: Option<usize>,
}

/// Two label volumes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelMeasures {
    /// Whether both lie on one grid.
    pub same_grid: bool,
    /// The grids.
    pub grid: Pair<GridFacts>,
    /// Different labels but 0.
    pub labels: Pair<usize>,
    /// 26-connected components of the foreground.
    pub lesions: Pair<usize>,
    /// Volume of the foreground, in ml.
    pub volume_ml: Pair<f64>,
    /// Lesions of each folder of which more than 10 % is foreground in the other; none on other grids.
    pub matched: Option<Pair<usize>>,
    /// The other lesions of each folder; none on other grids.
    pub unmatched: Option<Pair<usize>>,
    /// Dice of the foreground; none on other grids.
    pub dice: Option<f64>,
    /// Voxels in the foreground of one of the two only; none on other grids.
    pub voxels_differ: Option<usize>,
    /// Voxels in the foreground of both, with other labels; none on other grids.
    pub relabelled: Option<usize>,
}

/// Two transforms: `close` below 1e-4 mm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransformMeasures {
    /// Largest distance between the two places to which one point is sent, in mm.
    pub largest_displacement_mm: f64,
    /// The region whose points those are.
    pub over: String,
}

/// Two tables: `close` if rows and columns are the same and no number differs by more than 1e-6 of the larger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableMeasures {
    /// Rows of each.
    pub rows: Pair<usize>,
    /// Columns that one has alone.
    pub columns_only: Pair<Vec<String>>,
    /// The column by which rows are matched; none: by their place.
    pub rows_by: Option<String>,
    /// Rows that one has alone.
    pub rows_only: Pair<usize>,
    /// Cells of the rows and columns that both have.
    pub cells: usize,
    /// Those that differ.
    pub cells_differ: usize,
    /// The largest difference of two numbers, as a share of the larger.
    pub largest: Option<CellDifference>,
}

/// Two numbers in one place of two tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellDifference {
    /// The column.
    pub column: String,
    /// The row: its entry in the column by which rows are matched, or its number from 1.
    pub row: String,
    /// The numbers.
    pub value: Pair<f64>,
    /// Their difference as a share of the larger, in 0..=2.
    pub relative: f64,
}

/// Two numbers: `close` within 1e-6 of the larger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumberMeasures {
    /// The numbers.
    pub value: Pair<f64>,
}

/// Two texts or documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DocumentMeasures {
    /// Sizes in bytes.
    pub bytes: Pair<u64>,
}
