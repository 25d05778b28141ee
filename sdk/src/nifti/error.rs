//! What can be wrong with a file.

use crate::value::Kind;
use std::io;
use std::path::PathBuf;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NiftiError {
    /// The system refused: no such file, no permission, disk full.
    #[error("cannot {action} `{}`: {source}\nhint: {}", path.display(), system_hint(source))]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried: `open`, `read`, `write`, …
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, device or the like.
    #[error("`{}` is {found} where a file is expected\nhint: name one .nii, .nii.gz or .hdr file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Something else than NIfTI.
    #[error("`{}` is no NIfTI file: {found}\nhint: {hint}", path.display())]
    NotNifti {
        /// The file.
        path: PathBuf,
        /// What its first bytes are instead.
        found: String,
        /// The way out.
        hint: &'static str,
    },
    /// Fewer bytes than the header asks for.
    #[error(
        "`{}` holds {found} bytes where its header asks for {expected}\n\
         hint: the file is cut short; copy or convert it again",
        path.display()
    )]
    Truncated {
        /// The file with the voxels.
        path: PathBuf,
        /// Bytes there (of a gzip file: after inflating).
        found: u64,
        /// Bytes up to the last voxel.
        expected: u64,
    },
    /// A gzip stream that does not inflate, or to other bytes than were packed.
    #[error("the gzip data of `{}` are damaged: {problem}\nhint: copy or convert the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// One half of a `.hdr` and `.img` pair.
    #[error(
        "`{}` is half of a pair, and `{}` is missing\nhint: keep .hdr and .img in one folder, under one name",
        path.display(), partner.display()
    )]
    MissingPartner {
        /// The half that was named.
        path: PathBuf,
        /// The other half.
        partner: PathBuf,
    },
    /// A header field with a value that cannot be.
    #[error("`{field}` of `{}` is {found}; expected {expected}\nhint: {hint}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Name of the field, as in nifti1.h.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
        /// The way out.
        hint: &'static str,
    },
    /// Colour, complex or extended numbers.
    #[error("`{}` holds {datatype} voxels; expected integers or floats of 8 to 64 bits\nhint: {hint}", path.display())]
    Datatype {
        /// The file.
        path: PathBuf,
        /// Name of the type.
        datatype: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// A series instead of a volume.
    #[error(
        "`{}` has {found} volumes where 1 is expected\n\
         hint: take one volume of the series, or its mean, into a file of its own",
        path.display()
    )]
    Volumes {
        /// The file.
        path: PathBuf,
        /// Number of volumes.
        found: u64,
    },
    /// An affine that is not a place in the world.
    #[error("the {form} of `{}` {problem}\nhint: repair the header from the scanner's files", path.display())]
    Affine {
        /// The file.
        path: PathBuf,
        /// `sform`, `qform` or `spacing`.
        form: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// No memory for the voxels.
    #[error("no memory for the {bytes} bytes of `{}`\nhint: crop or downsample the volume, or take a larger machine", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// Bytes asked for.
        bytes: u64,
    },
    /// A number that the kind does not allow.
    #[error("`{}` holds {found} (first at voxel {voxel:?}); {kind} means {expected}\nhint: {hint}", path.display())]
    Voxel {
        /// The file.
        path: PathBuf,
        /// The kind asked for.
        kind: Kind,
        /// The number or numbers.
        found: String,
        /// Where the first of them is, `[i, j, k]`.
        voxel: [usize; 3],
        /// What the kind allows.
        expected: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// A table, text or the like asked for.
    #[error("`{}` was asked for as {kind}; NIfTI holds image, mask, labels or probability", path.display())]
    NotAVolumeKind {
        /// The file.
        path: PathBuf,
        /// The kind asked for.
        kind: Kind,
    },
    /// A name that is neither `.nii` nor `.nii.gz`.
    #[error("`{}` cannot be written: its name ends in neither .nii nor .nii.gz\nhint: add .nii.gz to the name", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// More voxels along an axis than the format can count.
    #[error("{found:?} voxels do not fit into `{}`; NIfTI-1 holds 1 to 32767 along each axis\nhint: crop or split the volume", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Voxels along `i`, `j`, `k`.
        found: [usize; 3],
    },
}

fn system_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "look at the path's spelling, and whether the disk is mounted",
        io::ErrorKind::PermissionDenied => "ask the folder's owner for the right to do so",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on that disk, or choose another"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a folder that can be written",
        _ => "try again; if it stays, look at the disk's health",
    }
}
