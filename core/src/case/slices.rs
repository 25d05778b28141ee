//! Images as folders of PNG slices, which say neither spacing nor orientation.

use super::cohort::natural;
use sdk::{Affine, Grid, Image, Kind, Labels, Mask, OperatorError, Value};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A folder of slices, and what is assumed of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slices {
    /// Holds `0.png`, `1.png` … in the order of the numbers in their names.
    pub folder: PathBuf,
    /// Distance of columns, of rows, and of slices.
    pub spacing_mm: [f64; 3],
    /// Where columns, rows and slices run to, `LPS` for one.
    pub orientation: Orientation,
}

/// Where the three axes of a grid run to: `RAS`, `LPS` …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Orientation([(usize, bool); 3]);

/// World directions, forwards and backwards.
const LETTERS: [(char, char); 3] = [('R', 'L'), ('A', 'P'), ('S', 'I')];

impl TryFrom<String> for Orientation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let axis = |letter: char| {
            let along = |(world, (to, from)): (usize, &(char, char))| match letter {
                letter if letter == *to => Some((world, false)),
                letter if letter == *from => Some((world, true)),
                _ => None,
            };
            LETTERS.iter().enumerate().find_map(along)
        };
        let axes: Option<Vec<(usize, bool)>> = text.chars().map(axis).collect();
        let axes: Option<[(usize, bool); 3]> = axes.and_then(|axes| axes.try_into().ok());
        let mut worlds = axes.unwrap_or_default().map(|(world, _)| world);
        worlds.sort_unstable();
        axes.filter(|_| worlds == [0, 1, 2]).map(Self).ok_or_else(|| {
            format!("`{text}` is no orientation: write where columns, rows and slices run to, as in `LPS`")
        })
    }
}

impl From<Orientation> for String {
    fn from(orientation: Orientation) -> Self {
        let letter = |(world, backwards): (usize, bool)| {
            let (to, from) = LETTERS[world];
            if backwards { from } else { to }
        };
        orientation.0.map(letter).iter().collect()
    }
}

impl Slices {
    /// What is assumed, for records and reports.
    pub fn assumed(&self) -> serde_json::Value {
        serde_json::json!({ "spacing_mm": self.spacing_mm, "orientation": String::from(self.orientation) })
    }

    /// Slices in a folder, under what a record says was [assumed](Self::assumed); none if it says no such thing.
    pub fn assuming(folder: &std::path::Path, assumed: &str) -> Option<Self> {
        let assumed: serde_json::Value = serde_json::from_str(assumed).ok()?;
        let spacing_mm = serde_json::from_value(assumed.get("spacing_mm")?.clone()).ok()?;
        let orientation = serde_json::from_value(assumed.get("orientation")?.clone()).ok()?;
        Some(Self { folder: folder.to_owned(), spacing_mm, orientation })
    }

    /// The PNG files, in the order of the numbers in their names.
    ///
    /// # Errors
    /// If there is none, the folder cannot be read, or a number is missing.
    pub fn files(&self) -> Result<Vec<PathBuf>, OperatorError> {
        let wrong = |text: String| OperatorError::failed(format!("{}: {text}", self.folder.display()));
        let entries = std::fs::read_dir(&self.folder).map_err(|error| wrong(error.to_string()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| is_png(name) && !name.starts_with('.')).collect();
        if names.is_empty() {
            return Err(wrong("holds no PNG slices".to_owned()));
        }
        names.sort_by(|a, b| natural(a, b));
        let digits = |name: &String| name.chars().filter(char::is_ascii_digit).collect::<String>();
        let numbers: Option<Vec<u64>> = names.iter().map(|name| digits(name).parse().ok()).collect();
        let pairs = numbers.iter().flat_map(|numbers| numbers.iter().zip(&numbers[1..]));
        if let Some((before, after)) = pairs.into_iter().find(|(a, b)| **b != **a + 1) {
            let text = format!("slice {before} is followed by slice {after}");
            return Err(wrong(text).hint("is the copy whole?"));
        }
        Ok(names.into_iter().map(|name| self.folder.join(name)).collect())
    }

    /// Reads the slices as a volume; the middle of its grid is the world's origin.
    ///
    /// # Errors
    /// If slices are missing, damaged, in colour, or of different sizes, or the kind is no image, mask or labels.
    pub fn read(&self, kind: Kind) -> Result<Value, OperatorError> {
        let files = self.files()?;
        let mut shape = [0, 0, files.len()];
        let mut voxels: Vec<u16> = Vec::new();
        for file in &files {
            let (side, slice) = read_slice(file)?;
            if voxels.is_empty() {
                [shape[0], shape[1]] = side;
                voxels.reserve_exact(slice.len() * files.len());
            } else if side != [shape[0], shape[1]] {
                let text = format!(
                    "{}: {} x {} dots, but the first slice has {} x {}",
                    file.display(),
                    side[0],
                    side[1],
                    shape[0],
                    shape[1]
                );
                return Err(OperatorError::failed(text));
            }
            voxels.extend(slice);
        }
        let grid = self.grid(shape);
        let value = match kind {
            Kind::Image => {
                Value::from(Image::new(grid, voxels.iter().map(|v| f32::from(*v)).collect::<Vec<_>>())?)
            }
            Kind::Mask => {
                Value::from(Mask::new(grid, voxels.iter().map(|v| u8::from(*v > 0)).collect::<Vec<_>>())?)
            }
            Kind::Labels => {
                Value::from(Labels::new(grid, voxels.iter().map(|v| (*v).into()).collect::<Vec<_>>())?)
            }
            _ => {
                let text =
                    format!("{}: inputs of kind `{kind}` cannot be read from slices", self.folder.display());
                return Err(OperatorError::failed(text));
            }
        };
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut value = value.fact("sources", serde_json::json!([name])).fact("assumed", self.assumed());
        let [x, y, z] = self.spacing_mm;
        value.facts.warn(format!(
            "{name}: spacing ({x} x {y} x {z} mm) and orientation ({}) are assumed, as slices do not say them",
            String::from(self.orientation)
        ));
        Ok(value)
    }

    fn grid(&self, shape: [usize; 3]) -> Grid {
        let mut rows = [[0.0; 4]; 3];
        for (axis, (world, backwards)) in self.orientation.0.into_iter().enumerate() {
            let step = if backwards { -self.spacing_mm[axis] } else { self.spacing_mm[axis] };
            rows[world][axis] = step;
            rows[world][3] -= step * (shape[axis] as f64 - 1.0) / 2.0;
        }
        Grid::new(shape, Affine::from_rows(rows))
    }
}

fn is_png(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
}

/// Columns and rows of a grey slice, and its dots, row by row.
fn read_slice(path: &Path) -> Result<([usize; 2], Vec<u16>), OperatorError> {
    let wrong = |text: String| OperatorError::failed(format!("{}: {text}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| wrong(error.to_string()))?;
    let size = reader.output_buffer_size().ok_or_else(|| wrong("too large a slice".to_owned()))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    bytes.truncate(frame.buffer_size());
    let numbers: Vec<u16> = match frame.bit_depth {
        png::BitDepth::Sixteen => {
            bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
        }
        _ => bytes.into_iter().map(u16::from).collect(),
    };
    let channels = frame.color_type.samples();
    let colours = if matches!(frame.color_type, png::ColorType::Rgb | png::ColorType::Rgba) { 3 } else { 1 };
    let dots = numbers.chunks_exact(channels);
    if dots.clone().any(|dot| dot[..colours].iter().any(|colour| *colour != dot[0])) {
        return Err(wrong("a colour picture, where a grey slice is expected".to_owned()));
    }
    let side = [frame.width as usize, frame.height as usize];
    Ok((side, dots.map(|dot| dot[0]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a grey slice of 3 x 2 dots, all `value` but the first dot of the second row, which is one more.
    fn write(folder: &Path, name: &str, value: u8) {
        let file = File::create(folder.join(name)).unwrap();
        let mut encoder = png::Encoder::new(file, 3, 2);
        encoder.set_color(png::ColorType::Grayscale);
        let dots = [value, value, value, value + 1, value, value];
        encoder.write_header().unwrap().write_image_data(&dots).unwrap();
    }

    fn slices(folder: &Path, orientation: &str) -> Slices {
        let orientation = Orientation::try_from(orientation.to_owned()).unwrap();
        Slices { folder: folder.to_owned(), spacing_mm: [0.5, 0.75, 2.0], orientation }
    }

    #[test]
    fn slices_become_a_volume_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..12 {
            write(folder.path(), &format!("{number}.png"), 10 * number);
        }
        let value = slices(folder.path(), "LPS").read(Kind::Image).unwrap();
        let Some(sdk::AnyVolume::Image(image)) = value.volume() else { panic!("no image") };
        assert_eq!(image.grid().shape, [3, 2, 12]);
        assert_eq!((image.at([2, 0, 2]), image.at([0, 1, 11])), (20.0, 111.0));
        assert_eq!(
            (image.grid().orientation().as_str(), image.grid().spacing_mm()),
            ("LPS", [0.5, 0.75, 2.0])
        );
        assert_eq!(image.grid().centre_world(), [0.0; 3]);
        assert_eq!(value.facts.get("assumed").unwrap()["orientation"], "LPS");
        assert!(value.facts.warnings()[0].contains("are assumed"));
    }

    #[test]
    fn a_missing_slice_or_another_size_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let told = || slices(folder.path(), "RAS").read(Kind::Mask).unwrap_err().message;
        assert!(told().contains("holds no PNG slices"));
        write(folder.path(), "1.png", 0);
        write(folder.path(), "3.png", 0);
        assert!(told().contains("slice 1 is followed by slice 3"));
        std::fs::write(folder.path().join("2.png"), "no picture").unwrap();
        assert!(told().contains("2.png"));
    }

    #[test]
    fn an_orientation_names_each_direction_once() {
        for text in ["RAS", "LPI", "PSR"] {
            assert_eq!(String::from(Orientation::try_from(text.to_owned()).unwrap()), text);
        }
        for text in ["RRS", "RA", "RASX", "ras", ""] {
            assert!(Orientation::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
