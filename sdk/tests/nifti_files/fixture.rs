//! Small NIfTI files made byte by byte, so that each field can be wrong.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// The fields of a header, and the voxels behind it.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) version: u8,
    pub(crate) big_endian: bool,
    pub(crate) is_pair: bool,
    pub(crate) dim: [i64; 8],
    pub(crate) datatype: i16,
    pub(crate) bitpix: i16,
    pub(crate) pixdim: [f64; 8],
    pub(crate) vox_offset: Option<f64>,
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
    pub(crate) units: u8,
    pub(crate) qform_code: i16,
    pub(crate) sform_code: i16,
    pub(crate) quatern: [f64; 3],
    pub(crate) qoffset: [f64; 3],
    pub(crate) srow: [[f64; 4]; 3],
    pub(crate) voxels: Vec<u8>,
}

impl Default for Fixture {
    /// 3 x 2 x 2 voxels of 2 x 2 x 3 mm, int16, little-endian, 1 to 12.
    fn default() -> Self {
        Self {
            version: 1,
            big_endian: false,
            is_pair: false,
            dim: [3, 3, 2, 2, 1, 1, 1, 1],
            datatype: 4,
            bitpix: 16,
            pixdim: [1.0, 2.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0],
            vox_offset: None,
            slope: 1.0,
            intercept: 0.0,
            units: 2,
            qform_code: 0,
            sform_code: 1,
            quatern: [0.0; 3],
            qoffset: [0.0; 3],
            srow: [[2.0, 0.0, 0.0, -10.0], [0.0, 2.0, 0.0, -20.0], [0.0, 0.0, 3.0, -30.0]],
            voxels: (1..=12i16).flat_map(i16::to_le_bytes).collect(),
        }
    }
}

impl Fixture {
    /// The same with voxels of another type; `bytes` little-endian, one row for each voxel.
    pub(crate) fn of_type<const N: usize>(&self, datatype: i16, voxels: &[[u8; N]]) -> Self {
        let turned = |bytes: &[u8; N]| {
            let mut bytes = *bytes;
            if self.big_endian {
                bytes.reverse();
            }
            bytes
        };
        let dim = [3, voxels.len() as i64, 1, 1, 1, 1, 1, 1];
        let voxels = voxels.iter().flat_map(turned).collect();
        Self { datatype, bitpix: 8 * N as i16, dim, voxels, ..self.clone() }
    }

    /// The header with its four bytes for extensions.
    pub(crate) fn header(&self) -> Vec<u8> {
        if self.version == 1 { self.header_1() } else { self.header_2() }
    }

    /// A single file.
    pub(crate) fn file(&self) -> Vec<u8> {
        [self.header(), self.voxels.clone()].concat()
    }

    fn header_1(&self) -> Vec<u8> {
        let mut out = Fields { bytes: vec![0; 352], big_endian: self.big_endian };
        out.put(0, 348i32.to_le_bytes());
        for n in 0..8 {
            out.put(40 + 2 * n, (self.dim[n] as i16).to_le_bytes());
            out.put(76 + 4 * n, (self.pixdim[n] as f32).to_le_bytes());
        }
        out.put(70, self.datatype.to_le_bytes());
        out.put(72, self.bitpix.to_le_bytes());
        let offset = self.vox_offset.unwrap_or(if self.is_pair { 0.0 } else { 352.0 });
        for (n, value) in [offset, self.slope, self.intercept].into_iter().enumerate() {
            out.put(108 + 4 * n, (value as f32).to_le_bytes());
        }
        out.put(123, [self.units]);
        out.put(252, self.qform_code.to_le_bytes());
        out.put(254, self.sform_code.to_le_bytes());
        for (n, value) in self.placement().into_iter().enumerate() {
            out.put(256 + 4 * n, (value as f32).to_le_bytes());
        }
        out.bytes[344..348].copy_from_slice(if self.is_pair { b"ni1\0" } else { b"n+1\0" });
        out.bytes
    }

    fn header_2(&self) -> Vec<u8> {
        let mut out = Fields { bytes: vec![0; 544], big_endian: self.big_endian };
        out.put(0, 540i32.to_le_bytes());
        out.bytes[4..12].copy_from_slice(if self.is_pair { b"ni2\0\r\n\x1a\n" } else { b"n+2\0\r\n\x1a\n" });
        out.put(12, self.datatype.to_le_bytes());
        out.put(14, self.bitpix.to_le_bytes());
        for n in 0..8 {
            out.put(16 + 8 * n, self.dim[n].to_le_bytes());
            out.put(104 + 8 * n, self.pixdim[n].to_le_bytes());
        }
        let offset = self.vox_offset.unwrap_or(if self.is_pair { 0.0 } else { 544.0 });
        out.put(168, (offset as i64).to_le_bytes());
        out.put(176, self.slope.to_le_bytes());
        out.put(184, self.intercept.to_le_bytes());
        out.put(344, i32::from(self.qform_code).to_le_bytes());
        out.put(348, i32::from(self.sform_code).to_le_bytes());
        for (n, value) in self.placement().into_iter().enumerate() {
            out.put(352 + 8 * n, value.to_le_bytes());
        }
        out.put(500, i32::from(self.units).to_le_bytes());
        out.bytes
    }

    /// Quaternion, offset and rows: they follow each other in both headers.
    fn placement(&self) -> Vec<f64> {
        self.quatern.into_iter().chain(self.qoffset).chain(self.srow.into_iter().flatten()).collect()
    }
}

struct Fields {
    bytes: Vec<u8>,
    big_endian: bool,
}

impl Fields {
    fn put<const N: usize>(&mut self, offset: usize, mut value: [u8; N]) {
        if self.big_endian {
            value.reverse();
        }
        self.bytes[offset..offset + N].copy_from_slice(&value);
    }
}

/// One gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}
