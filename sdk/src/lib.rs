//! All that a Neuroloom plugin needs.
//!
//! A plugin implements [`Operator`] for each of its operators and calls [`export_plugin!`]; its method is plain functions on
//! [`Image`], [`Mask`] and their like. See `docs/plugin-guide.md`, and `examples/minimal_plugin` for a whole plugin.
//!
//! Conventions: world space is RAS+ millimetres, voxel order stays as stored with `i` fastest, voxels are `f32`, geometry
//! and sums `f64`. Results do not depend on the number of threads.

pub mod border;
pub mod buffer;
mod context;
mod error;
pub mod export;
pub mod geometry;
pub mod imaging;
mod logging;
#[cfg(feature = "nifti")]
pub mod nifti;
mod operator;
mod panics;
pub mod port;
pub mod review;
#[cfg(feature = "testing")]
pub mod testing;
mod value;
mod volume;

pub use buffer::{Buf, BufMut};
pub use context::Context;
pub use error::{Cause, OperatorError};
pub use geometry::{Affine, Grid};
pub use neuroloom_abi as abi;
pub use operator::{
    CaseEntry, Cases, FileSetting, GroupOperator, Inputs, Inspection, NoSettings, Operator, OperatorInfo,
    Outputs, Place, Scope,
};
pub use port::{Interface, Port, Wiring};
pub use schemars::{self, JsonSchema};
pub use serde;
pub use value::{Cell, Column, Content, Document, Facts, Kind, Table, Transform, Value};
pub use volume::{
    AnyVolume, Image, ImageKind, Labels, LabelsKind, Mask, MaskKind, Probability, ProbabilityKind, Volume,
    VolumeKind, WrongLength,
};
