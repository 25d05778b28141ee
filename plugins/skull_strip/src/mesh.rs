//! A closed triangle mesh around the brain, in world millimetres.
//!
//! Starts as an icosphere; every vertex knows its neighbours, so that the surface can be kept smooth. Triangles turn
//! anticlockwise seen from outside.

use std::collections::BTreeMap;

/// A point or direction in RAS+ world millimetres.
pub type Point = [f64; 3];

/// `a - b`.
pub fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a + scale * b`.
pub fn plus(a: Point, scale: f64, b: Point) -> Point {
    [a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2]]
}

/// Inner product.
pub fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Outer product.
pub fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// `a` at length 1; the zero vector stays.
pub fn unit(a: Point) -> Point {
    let length = dot(a, a).sqrt();
    if length > 0.0 { a.map(|x| x / length) } else { a }
}

/// A closed surface of triangles.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// Places of the vertices, mm.
    pub vertices: Vec<Point>,
    /// Vertex numbers of each triangle, anticlockwise from outside.
    pub triangles: Vec<[u32; 3]>,
    /// `neighbours[starts[v]..starts[v + 1]]` are the vertices that share an edge with `v`.
    starts: Vec<u32>,
    neighbours: Vec<u32>,
}

impl Mesh {
    /// An icosahedron whose triangles are cut in four `levels` times, on a sphere: `10 * 4^levels + 2` vertices.
    pub fn sphere(centre: Point, radius_mm: f64, levels: usize) -> Self {
        let (vertices, triangles) = icosahedron();
        let mut mesh = Self::linked(vertices, triangles);
        for _ in 0..levels {
            mesh = mesh.refined();
            mesh.vertices.iter_mut().for_each(|v| *v = unit(*v));
        }
        mesh.vertices.iter_mut().for_each(|v| *v = plus(centre, radius_mm, *v));
        mesh
    }

    fn linked(vertices: Vec<Point>, triangles: Vec<[u32; 3]>) -> Self {
        let mut lists = vec![Vec::with_capacity(6); vertices.len()];
        for &[a, b, c] in &triangles {
            // Each edge is met once in either direction, so each neighbour is listed once.
            lists[a as usize].push(b);
            lists[b as usize].push(c);
            lists[c as usize].push(a);
        }
        let mut starts = vec![0];
        let mut neighbours = Vec::with_capacity(triangles.len() * 3);
        for list in lists {
            neighbours.extend(list);
            starts.push(neighbours.len() as u32);
        }
        Self { vertices, triangles, starts, neighbours }
    }

    /// The same surface with each triangle cut in four at the middles of its edges.
    #[must_use]
    pub fn refined(&self) -> Self {
        let mut vertices = self.vertices.clone();
        let mut middles: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let mut middle = |a: u32, b: u32| {
            *middles.entry((a.min(b), a.max(b))).or_insert_with(|| {
                let (p, q) = (self.vertices[a as usize], self.vertices[b as usize]);
                vertices.push([0, 1, 2].map(|axis| f64::midpoint(p[axis], q[axis])));
                vertices.len() as u32 - 1
            })
        };
        let mut triangles = Vec::with_capacity(self.triangles.len() * 4);
        for &[a, b, c] in &self.triangles {
            let (ab, bc, ca) = (middle(a, b), middle(b, c), middle(c, a));
            triangles.extend([[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]);
        }
        Self::linked(vertices, triangles)
    }

    /// Vertices that share an edge with `vertex`.
    pub fn neighbours(&self, vertex: usize) -> &[u32] {
        &self.neighbours[self.starts[vertex] as usize..self.starts[vertex + 1] as usize]
    }

    /// Middle of a vertex's neighbours.
    pub fn neighbour_mean(&self, vertex: usize) -> Point {
        let near = self.neighbours(vertex);
        let sum = near.iter().fold([0.0; 3], |sum, &n| plus(sum, 1.0, self.vertices[n as usize]));
        sum.map(|x| x / near.len() as f64)
    }

    /// Outward directions of length 1 at each vertex: the sum of its triangles' area vectors.
    pub fn normals(&self, out: &mut Vec<Point>) {
        out.clear();
        out.resize(self.vertices.len(), [0.0; 3]);
        for &[a, b, c] in &self.triangles {
            let [p, q, r] = [a, b, c].map(|v| self.vertices[v as usize]);
            let area = cross(minus(q, p), minus(r, p));
            for v in [a, b, c] {
                out[v as usize] = plus(out[v as usize], 1.0, area);
            }
        }
        for normal in out.iter_mut() {
            *normal = unit(*normal);
        }
    }

    /// Mean length of the edges, mm.
    pub fn mean_edge_mm(&self) -> f64 {
        let mut sum = 0.0;
        for v in 0..self.vertices.len() {
            for &n in self.neighbours(v) {
                let edge = minus(self.vertices[v], self.vertices[n as usize]);
                sum += dot(edge, edge).sqrt();
            }
        }
        sum / self.neighbours.len() as f64
    }

    /// Volume inside, mm3 (divergence theorem).
    pub fn volume_mm3(&self) -> f64 {
        let part = |&[a, b, c]: &[u32; 3]| {
            let [p, q, r] = [a, b, c].map(|v| self.vertices[v as usize]);
            dot(p, cross(q, r)) / 6.0
        };
        self.triangles.iter().map(part).sum()
    }

    /// Middle of the vertices.
    pub fn centre(&self) -> Point {
        let sum = self.vertices.iter().fold([0.0; 3], |sum, &v| plus(sum, 1.0, v));
        sum.map(|x| x / self.vertices.len() as f64)
    }

    /// Share of neighbouring triangle pairs that fold back on each other: 0 for a smooth surface.
    ///
    /// A surface that runs through itself has folds where it turns; each vertex whose triangles disagree with its normal
    /// by more than a right angle counts as one.
    pub fn folded_share(&self) -> f64 {
        let mut normals = Vec::new();
        self.normals(&mut normals);
        let folded = |&&[a, b, c]: &&[u32; 3]| {
            let [p, q, r] = [a, b, c].map(|v| self.vertices[v as usize]);
            let area = cross(minus(q, p), minus(r, p));
            [a, b, c].iter().any(|&v| dot(area, normals[v as usize]) < 0.0)
        };
        self.triangles.iter().filter(folded).count() as f64 / self.triangles.len() as f64
    }
}

/// The twelve corners, at distance 1 from the origin, and twenty faces.
fn icosahedron() -> (Vec<Point>, Vec<[u32; 3]>) {
    let golden = f64::midpoint(1.0, 5f64.sqrt());
    let mut vertices = Vec::with_capacity(12);
    for a in [-1.0, 1.0] {
        for b in [-golden, golden] {
            vertices.extend([[a, b, 0.0], [0.0, a, b], [b, 0.0, a]].map(unit));
        }
    }
    // Faces are the triples of mutual neighbours (edge length 2 / sqrt(1 + golden^2), about 1.05).
    let near = |p: usize, q: usize| {
        let edge = minus(vertices[p], vertices[q]);
        dot(edge, edge) < 1.2
    };
    let mut triangles = Vec::with_capacity(20);
    for a in 0..12 {
        for b in a + 1..12 {
            for c in b + 1..12 {
                if near(a, b) && near(b, c) && near(c, a) {
                    let outward = dot(
                        vertices[a],
                        cross(minus(vertices[b], vertices[a]), minus(vertices[c], vertices[a])),
                    );
                    let face = [a as u32, b as u32, c as u32];
                    triangles.push(if outward > 0.0 { face } else { [face[0], face[2], face[1]] });
                }
            }
        }
    }
    (vertices, triangles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fine_icosphere_has_the_volume_of_its_ball_and_no_fold() {
        let mesh = Mesh::sphere([10.0, -20.0, 30.0], 50.0, 4);
        assert_eq!((mesh.vertices.len(), mesh.triangles.len()), (2562, 5120));
        let ball = 4.0 / 3.0 * std::f64::consts::PI * 50f64.powi(3);
        // Flat faces lie inside the ball: 0.3 % at this edge length.
        assert!((mesh.volume_mm3() / ball - 1.0).abs() < 0.005, "{} of {ball} mm3", mesh.volume_mm3());
        assert_eq!(mesh.folded_share(), 0.0);
    }

    #[test]
    fn every_normal_of_a_sphere_points_away_from_its_middle() {
        let centre = [1.0, 2.0, 3.0];
        let mesh = Mesh::sphere(centre, 40.0, 3);
        let mut normals = Vec::new();
        mesh.normals(&mut normals);
        for (v, n) in mesh.vertices.iter().zip(&normals) {
            let outward = unit(minus(*v, centre));
            assert!(dot(outward, *n) > 0.999, "{outward:?} against {n:?}");
        }
    }

    #[test]
    fn a_vertex_pushed_through_the_far_side_is_a_fold() {
        let mut mesh = Mesh::sphere([0.0; 3], 40.0, 3);
        mesh.vertices[100] = mesh.vertices[100].map(|x| -2.0 * x);
        assert!(mesh.folded_share() > 0.0);
    }
}
