//! Cubic B-splines over a volume: a lattice of control points, refined by halving its spans.
//!
//! Along each axis the first and the last voxel centre of the volume are the ends of `spans` equal spans, and `spans + 3`
//! control points carry them. A volume of one voxel along an axis lies at the beginning of the first span.
//!
//! Source: S. Lee, G. Wolberg, S. Shin, "Scattered data interpolation with multilevel B-splines", IEEE Trans. Vis. Comput.
//! Graph. 3(3), 1997: equations 2 (basis), 10 and 11 (refinement).

/// Control points that reach a place, along one axis.
const REACH: usize = 4;

/// The four basis functions at places along one axis: which control point is the first, and their values.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    pub(super) first: Vec<usize>,
    pub(super) weights: Vec<[f64; REACH]>,
}

impl Basis {
    /// * `len`: voxels along the axis, the first and the last at the ends of the spans.
    pub(super) fn along(len: usize, spans: usize) -> Self {
        let spans_per_voxel = spans as f64 / (len.max(2) - 1) as f64;
        let (first, weights) = (0..len)
            .map(|place| {
                let u = place as f64 * spans_per_voxel;
                let span = (u as usize).min(spans - 1);
                (span, cubic(u - span as f64))
            })
            .unzip();
        Self { first, weights }
    }

    /// The same with another number in the place of each weight, made from the four at one place.
    pub(super) fn map(&self, change: impl Fn([f64; REACH]) -> [f64; REACH]) -> Self {
        Self { first: self.first.clone(), weights: self.weights.iter().map(|&w| change(w)).collect() }
    }
}

/// The uniform cubic B-spline's four pieces, `t` of a span from its beginning.
fn cubic(t: f64) -> [f64; REACH] {
    let (s, t2, t3) = (1.0 - t, t * t, t * t * t);
    [s * s * s / 6.0, (3.0 * t3 - 6.0 * t2 + 4.0) / 6.0, (3.0 * (t + t2 - t3) + 1.0) / 6.0, t3 / 6.0]
}

/// A field over a volume, by its control points.
#[derive(Clone, Debug)]
pub(super) struct Lattice {
    pub(super) spans: [usize; 3],
    /// `[ci, cj, ck]`, `ci` fastest.
    pub(super) points: Vec<f64>,
}

impl Lattice {
    pub(super) fn zero(spans: [usize; 3]) -> Self {
        let [nx, ny, nz] = spans.map(|n| n + 3);
        Self { spans, points: vec![0.0; nx * ny * nz] }
    }

    /// Control points along each axis.
    pub(super) fn shape(&self) -> [usize; 3] {
        self.spans.map(|n| n + 3)
    }

    /// The same field with twice as many spans along every axis.
    pub(super) fn refined(&self) -> Self {
        let mut points = self.points.clone();
        let mut shape = self.shape();
        for axis in 0..3 {
            let stride: usize = shape[..axis].iter().product();
            let (old, new) = (shape[axis], 2 * shape[axis] - 3);
            let mut finer = vec![0.0; points.len() / old * new];
            for (from, to) in points.chunks_exact(stride * old).zip(finer.chunks_exact_mut(stride * new)) {
                for (n, to) in to.chunks_exact_mut(stride).enumerate() {
                    let at = |point: usize| &from[point * stride..][..stride];
                    for (m, to) in to.iter_mut().enumerate() {
                        let c = |point: usize| at(point)[m];
                        let low = n / 2;
                        *to = if n % 2 == 1 {
                            (c(low) + 6.0 * c(low + 1) + c(low + 2)) / 8.0
                        } else {
                            f64::midpoint(c(low), c(low + 1))
                        };
                    }
                }
            }
            points = finer;
            shape[axis] = new;
        }
        Self { spans: self.spans.map(|n| 2 * n), points }
    }

    /// Control points of one plane across `k`: `[ci, cj]`; * `out`: overwritten.
    pub(super) fn plane(&self, first: usize, weights: [f64; REACH], out: &mut [f64]) {
        blend(&self.points, first, weights, out);
    }
}

/// `out[n] = sum over c of weights[c] points[first + c][n]`, rows as long as `out`: from a lattice to a plane, from a plane
/// to a row.
pub(super) fn blend(points: &[f64], first: usize, weights: [f64; REACH], out: &mut [f64]) {
    let len = out.len();
    out.fill(0.0);
    for (c, weight) in weights.into_iter().enumerate() {
        for (out, point) in out.iter_mut().zip(&points[(first + c) * len..][..len]) {
            *out += weight * point;
        }
    }
}

/// `out[first + c][n] += weights[c] row[n]`: the way back.
pub(super) fn spread(row: &[f64], first: usize, weights: [f64; REACH], out: &mut [f64]) {
    let len = row.len();
    for (c, weight) in weights.into_iter().enumerate() {
        for (out, value) in out[(first + c) * len..][..len].iter_mut().zip(row) {
            *out += weight * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(lattice: &Lattice, place: [usize; 3], len: [usize; 3]) -> f64 {
        let [nx, ny, _] = lattice.shape();
        let [bx, by, bz] = [0, 1, 2].map(|axis| Basis::along(len[axis], lattice.spans[axis]));
        let [i, j, k] = place;
        let (mut plane, mut row, mut out) = (vec![0.0; nx * ny], vec![0.0; nx], [0.0]);
        lattice.plane(bz.first[k], bz.weights[k], &mut plane);
        blend(&plane, by.first[j], by.weights[j], &mut row);
        blend(&row, bx.first[i], bx.weights[i], &mut out);
        out[0]
    }

    fn lattice(spans: [usize; 3]) -> Lattice {
        let mut lattice = Lattice::zero(spans);
        for (n, point) in lattice.points.iter_mut().enumerate() {
            *point = (n * 7919 % 101) as f64;
        }
        lattice
    }

    #[test]
    fn a_refined_lattice_carries_the_same_field() {
        let coarse = lattice([1, 2, 3]);
        let fine = coarse.refined();
        let len = [9, 6, 1];
        for place in [[0, 0, 0], [8, 5, 0], [3, 2, 0], [4, 4, 0]] {
            let (a, b) = (value(&coarse, place, len), value(&fine, place, len));
            // Sums of 64 numbers below 101.
            assert!((a - b).abs() < 1e-11, "{a} and {b} at {place:?}");
        }
    }

    #[test]
    fn equal_control_points_are_a_constant_field() {
        let mut lattice = Lattice::zero([2, 1, 4]);
        lattice.points.fill(3.0);
        assert!((value(&lattice, [4, 0, 17], [5, 1, 20]) - 3.0).abs() < 1e-14);
    }
}
