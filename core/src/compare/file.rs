//! Two files of one name, compared as what they hold.

use super::folder::{FileKind, OutputFile};
use super::measures::{DocumentMeasures, Measures, NumberMeasures, Pair};
use super::tables::{RELATIVE_TOLERANCE, relative};
use super::{FileComparison, Verdict, runs, tables, transforms, volumes};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

/// Bytes of a file that are compared at a time.
const PIECE_BYTES: usize = 1 << 18;

/// Compares two files; `region` is the volume over whose corners transforms are compared.
pub(super) fn compare(a: &OutputFile, b: &OutputFile, region: Option<&OutputFile>) -> FileComparison {
    let paths = Pair { a: a.path.as_path(), b: b.path.as_path() };
    let sidecars = Pair { a: a.sidecar(), b: b.sidecar() };
    let mut comparison = alone(a, Verdict::Unreadable);
    if a.kind != FileKind::Document {
        comparison.sidecar = runs::sidecar_changes(&sidecars);
    }
    match measure(a.kind, paths, region) {
        Ok((verdict, measures)) => {
            comparison.verdict = verdict;
            comparison.measures = Some(measures);
        }
        Err(problem) => comparison.problem = Some(problem),
    }
    comparison
}

/// A file without a partner.
pub(super) fn alone(file: &OutputFile, verdict: Verdict) -> FileComparison {
    FileComparison {
        output: file.name.clone(),
        name: file.name.clone(),
        file: file.relative.clone(),
        kind: file.kind,
        verdict,
        measures: None,
        sidecar: Vec::new(),
        problem: None,
    }
}

/// How two files differ, or which of them cannot be read and why.
fn measure(
    kind: FileKind,
    paths: Pair<&Path>,
    region: Option<&OutputFile>,
) -> Result<(Verdict, Measures), String> {
    let same = same_bytes(paths)?;
    let (verdict, measures) = match kind {
        FileKind::Table => tables::compare(paths).map_err(|error| error.to_string())?,
        FileKind::Transform => transforms::compare(paths, region).map_err(|error| error.to_string())?,
        FileKind::Text => texts(paths)?,
        FileKind::Document => {
            (Verdict::Differs, Measures::Document(DocumentMeasures { bytes: sizes(paths)? }))
        }
        _ => volumes::compare(kind, paths, same).map_err(|error| error.to_string())?,
    };
    Ok((if same { Verdict::Identical } else { verdict }, measures))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> String + '_ {
    move |error| format!("cannot read {}: {error}", path.display())
}

fn sizes(paths: Pair<&Path>) -> Result<Pair<u64>, String> {
    let size = |path: &Path| std::fs::metadata(path).map(|file| file.len()).map_err(unreadable(path));
    Ok(Pair { a: size(paths.a)?, b: size(paths.b)? })
}

/// Whether two files hold the same bytes.
fn same_bytes(paths: Pair<&Path>) -> Result<bool, String> {
    let open = |path: &Path| File::open(path).map_err(unreadable(path));
    let (a, b) = (open(paths.a)?, open(paths.b)?);
    let sizes = sizes(paths)?;
    if sizes.a != sizes.b {
        return Ok(false);
    }
    let buffered = |file| BufReader::with_capacity(PIECE_BYTES, file);
    let (mut a, mut b) = (buffered(a), buffered(b));
    loop {
        let (from_a, from_b) =
            (a.fill_buf().map_err(unreadable(paths.a))?, b.fill_buf().map_err(unreadable(paths.b))?);
        let length = from_a.len().min(from_b.len());
        if length == 0 || from_a[..length] != from_b[..length] {
            return Ok(from_a.len() == from_b.len() && length == 0);
        }
        a.consume(length);
        b.consume(length);
    }
}

/// Two texts: as numbers, if both are.
fn texts(paths: Pair<&Path>) -> Result<(Verdict, Measures), String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(unreadable(path));
    let number = |text: String| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let (Some(a), Some(b)) = (number(read(paths.a)?), number(read(paths.b)?)) else {
        return Ok((Verdict::Differs, Measures::Document(DocumentMeasures { bytes: sizes(paths)? })));
    };
    let close = relative(a, b) <= RELATIVE_TOLERANCE;
    let verdict = if close { Verdict::Close } else { Verdict::Differs };
    Ok((verdict, Measures::Number(NumberMeasures { value: Pair { a, b } })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(name: &str, a: &[u8], b: &[u8]) -> FileComparison {
        let folder = tempfile::tempdir().unwrap();
        let file = |side: &str, bytes: &[u8]| {
            let path = folder.path().join(format!("{side}{name}"));
            std::fs::write(&path, bytes).unwrap();
            let kind = match name.rsplit('.').next().unwrap() {
                "txt" => FileKind::Text,
                "gz" => FileKind::Mask,
                _ => FileKind::Document,
            };
            OutputFile { path, relative: name.to_owned(), name: name.to_owned(), kind }
        };
        let (a, b) = (file("a", a), file("b", b));
        compare(&a, &b, None)
    }

    #[test]
    fn documents_are_the_same_bytes_or_not() {
        let long = vec![7u8; 3 * PIECE_BYTES + 1];
        let mut other = long.clone();
        assert_eq!(compared("page.html", &long, &other).verdict, Verdict::Identical);
        other[3 * PIECE_BYTES] = 8;
        assert_eq!(compared("page.html", &long, &other).verdict, Verdict::Differs);
        assert_eq!(compared("page.html", b"", b"").verdict, Verdict::Identical);
        assert_eq!(compared("page.html", b"", b"x").verdict, Verdict::Differs);
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_words_as_words() {
        assert_eq!(compared("n.txt", b"0.1\n", b"0.10\n").verdict, Verdict::Close);
        let numbers = compared("n.txt", b"0.1\n", b"0.2\n");
        assert_eq!(numbers.verdict, Verdict::Differs);
        let measures = numbers.measures.unwrap();
        assert!(matches!(measures, Measures::Number(NumberMeasures { value: Pair { a: 0.1, b: 0.2 } })));
        assert!(matches!(compared("n.txt", b"left", b"right").measures, Some(Measures::Document(_))));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let damaged = compared("mask.nii.gz", b"no volume at all", b"no volume either");
        assert_eq!(damaged.verdict, Verdict::Unreadable);
        assert!(damaged.problem.unwrap().contains("amask.nii.gz"), "the first of the two is named");
    }
}
