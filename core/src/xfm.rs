//! Transforms as text: four rows of numbers, our JSON, and ITK's transform files.
//!
//! A transform maps points of its first frame to points of its second, in mm: `fixed_to_moving` tells where in moving a fixed
//! point lies, which is what resampling moving onto fixed asks for. ITK keeps to the same direction (a resampler's transform maps
//! points of its output to points of its input), but counts from the right and back (LPS) where we count to the right and front
//! (RAS+). So an ITK file holds the same map between flipped axes, never the inverse; the plain rows are in RAS+.

use sdk::{Affine, Transform};
use serde::Deserialize;
use std::fmt::Write as _;

/// Why a text is no transform.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XfmError {
    /// The text is none of the three forms.
    #[error(
        "{found} numbers instead of a 4x4 matrix\n\
         hint: four rows of four numbers, the last `0 0 0 1`, from world to world in RAS+ mm; or ITK's text form"
    )]
    NoMatrix {
        /// Numbers in the text.
        found: usize,
    },
    /// The map squeezes space flat, or holds a number that is not finite.
    #[error("the matrix cannot be inverted\nhint: check how the file was made")]
    Flat,
    /// ITK's file holds a transform that is no matrix.
    #[error(
        "ITK's `{found}` is not known here\n\
         hint: save an affine, Euler 3-D, versor rigid 3-D, similarity 3-D or translation transform, or a composite of them"
    )]
    Unknown {
        /// Its name in the file.
        found: String,
    },
    /// ITK's file does not hold the numbers that its transform needs.
    #[error("ITK's `{found}` has {parameters} parameters and {fixed} fixed ones\nhint: is the file whole?")]
    Damaged {
        /// Its name in the file.
        found: String,
        /// Numbers after `Parameters:`.
        parameters: usize,
        /// Numbers after `FixedParameters:`.
        fixed: usize,
    },
}

/// The first line of ITK's form.
const ITK_TITLE: &str = "#Insight Transform File V1.0";

/// Four rows of four numbers, RAS+ mm.
pub fn matrix_text(transform: &Transform) -> String {
    let rows = transform.as_affine().map(Affine::rows).into_iter().flatten();
    let mut text = String::new();
    for [a, b, c, d] in rows {
        let _ = writeln!(text, "{a} {b} {c} {d}");
    }
    text.push_str("0 0 0 1\n");
    text
}

/// ITK's text form (`.tfm`), LPS mm, as an affine transform about the origin.
pub fn itk_text(transform: &Transform) -> String {
    let rows = transform.as_affine().map(|map| flipped(map).rows()).unwrap_or_default();
    let linear = rows.iter().flat_map(|row| &row[..3]);
    let parameters: Vec<String> =
        linear.chain(rows.iter().map(|row| &row[3])).map(ToString::to_string).collect();
    format!(
        "{ITK_TITLE}\n#Transform 0\nTransform: AffineTransform_double_3_3\nParameters: {}\nFixedParameters: 0 0 0\n",
        parameters.join(" ")
    )
}

/// The same map between worlds whose x and y run the other way: LPS for RAS+ and back.
fn flipped(map: &Affine) -> Affine {
    let flip = Affine::scale_shift([-1.0, -1.0, 1.0], [0.0; 3]);
    flip.after(map).after(&flip)
}

/// Our JSON, as it is published or the transform alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Published {
        #[serde(rename = "Transform")]
        transform: Transform,
    },
    Plain(Transform),
}

/// Reads any of the three forms.
///
/// # Errors
/// [`XfmError`].
pub fn read(text: &str) -> Result<Transform, XfmError> {
    if let Ok(Json::Published { transform } | Json::Plain(transform)) = serde_json::from_str(text) {
        return if transform.as_affine().is_none_or(Affine::is_usable) {
            Ok(transform)
        } else {
            Err(XfmError::Flat)
        };
    }
    let map = if text.trim_start().starts_with("#Insight Transform File") {
        flipped(&itk(text)?)
    } else {
        matrix(text)?
    };
    if map.is_usable() { Ok(Transform::affine(map)) } else { Err(XfmError::Flat) }
}

fn matrix(text: &str) -> Result<Affine, XfmError> {
    let words: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
    let numbers = words.unwrap_or_default();
    match numbers.as_chunks::<4>().0 {
        [a, b, c, [0.0, 0.0, 0.0, 1.0]] if numbers.len() == 16 => Ok(Affine::from_rows([*a, *b, *c])),
        _ => Err(XfmError::NoMatrix { found: numbers.len() }),
    }
}

/// The map of an ITK file, LPS mm. Of a composite the last transform acts first.
fn itk(text: &str) -> Result<Affine, XfmError> {
    let mut map = Affine::IDENTITY;
    let mut lines = text.lines().filter_map(|line| line.split_once(':')).peekable();
    let mut seen = false;
    while let Some((key, name)) = lines.next() {
        if key != "Transform" {
            continue;
        }
        seen = true;
        let name = name.trim();
        let mut numbers = |key: &str| -> Vec<f64> {
            let line = lines.next_if(|(found, _)| *found == key).map_or("", |(_, line)| line);
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let (parameters, fixed) = (numbers("Parameters"), numbers("FixedParameters"));
        map = map.after(&itk_transform(name, &parameters, &fixed)?);
    }
    if seen { Ok(map) } else { Err(XfmError::NoMatrix { found: 0 }) }
}

/// One transform of an ITK file: `x -> M (x - centre) + centre + translation`.
fn itk_transform(name: &str, parameters: &[f64], fixed: &[f64]) -> Result<Affine, XfmError> {
    let damaged =
        || XfmError::Damaged { found: name.to_owned(), parameters: parameters.len(), fixed: fixed.len() };
    let (linear, translation) = match (name.split('_').next().unwrap_or(name), parameters) {
        ("CompositeTransform", []) => return Ok(Affine::IDENTITY),
        ("TranslationTransform", &[x, y, z]) => return Ok(Affine::translation([x, y, z])),
        ("AffineTransform" | "MatrixOffsetTransformBase", &[a, b, c, d, e, f, g, h, i, x, y, z]) => {
            ([[a, b, c], [d, e, f], [g, h, i]], [x, y, z])
        }
        ("Euler3DTransform", &[a, b, c, x, y, z]) => {
            // The fourth fixed parameter chooses the order: about x, then y, then z; else about y, then x, then z.
            (euler([a, b, c], fixed.get(3).is_some_and(|zyx| *zyx != 0.0)), [x, y, z])
        }
        ("VersorRigid3DTransform", &[a, b, c, x, y, z]) => (versor([a, b, c], 1.0), [x, y, z]),
        ("Similarity3DTransform", &[a, b, c, x, y, z, scale]) => (versor([a, b, c], scale), [x, y, z]),
        (
            "CompositeTransform"
            | "TranslationTransform"
            | "AffineTransform"
            | "MatrixOffsetTransformBase"
            | "Euler3DTransform"
            | "VersorRigid3DTransform"
            | "Similarity3DTransform",
            _,
        ) => return Err(damaged()),
        _ => return Err(XfmError::Unknown { found: name.to_owned() }),
    };
    let &[x, y, z, ..] = fixed else { return Err(damaged()) };
    let about = Affine::translation([x, y, z]);
    let back = Affine::translation([-x, -y, -z]);
    let row = |r: usize| [linear[r][0], linear[r][1], linear[r][2], translation[r]];
    Ok(about.after(&Affine::from_rows([row(0), row(1), row(2)])).after(&back))
}

fn euler(angles_rad: [f64; 3], about_x_first: bool) -> [[f64; 3]; 3] {
    let about = |axis: usize| {
        let mut angles = [0.0; 3];
        angles[axis] = angles_rad[axis];
        Affine::rigid(angles, [0.0; 3], [0.0; 3])
    };
    let [first, second] = if about_x_first { [0, 1] } else { [1, 0] };
    about(2).after(&about(second)).after(&about(first)).rows().map(|[a, b, c, _]| [a, b, c])
}

/// The rotation of a versor (a unit quaternion's vector part), times a factor.
fn versor([x, y, z]: [f64; 3], scale: f64) -> [[f64; 3]; 3] {
    let w = (1.0 - x * x - y * y - z * z).max(0.0).sqrt();
    let rows = [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ];
    rows.map(|row| row.map(|entry| scale * entry))
}

#[cfg(test)]
mod tests;
