//! What each sequence makes of the tissues.
//!
//! Signals are relative: normal white matter is 1 in every sequence. The T1 intensity of the atlas says which tissue, or
//! which mixture, a voxel holds; a curve for each sequence says how bright that is. So the anatomy's own partial volumes stay.
//!
//! Values follow what 3 T protocols show: BRAVO (inversion-prepared gradient echo, after contrast) with bright blood, CUBE
//! (T1-weighted spin echo, before and after) with black blood at 0.28 to 0.5 of white matter, FLAIR with dark fluid.

use crate::anatomy::intensity::{FLUID, GREY, WHITE};
use crate::anatomy::{Anatomy, LEN, SHAPE};
use crate::vessels::Vessels;
use sdk::Context;

/// The four images of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// T1-weighted gradient echo after contrast.
    Bravo,
    /// T1-weighted spin echo before contrast.
    T1Pre,
    /// T1-weighted spin echo after contrast.
    T1Post,
    /// Fluid-attenuated T2.
    Flair,
}

impl Sequence {
    /// All four, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Bravo, Self::T1Pre, Self::T1Post, Self::Flair];

    /// The name of its output port.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bravo => "bravo",
            Self::T1Pre => "t1_pre",
            Self::T1Post => "t1_post",
            Self::Flair => "flair",
        }
    }

    /// How bright its tissues are.
    pub const fn contrast(self) -> &'static Contrast {
        match self {
            Self::Bravo => &BRAVO,
            Self::T1Pre => &T1_PRE,
            Self::T1Post => &T1_POST,
            Self::Flair => &FLAIR,
        }
    }
}

/// Points of a curve from atlas intensity to signal.
type Curve = &'static [(u8, f32)];

/// Signals of one sequence, white matter = 1. Ranges are drawn from for each lesion.
#[derive(Debug)]
pub struct Contrast {
    brain: Curve,
    outside: Curve,
    blood: f32,
    plexus: f32,
    /// White matter with oedema.
    pub oedema: f32,
    /// Enhancing part of a lesion: least and most.
    pub enhancing: [f64; 2],
    /// Necrotic core of a ring: least and most.
    pub core: [f64; 2],
}

static BRAVO: Contrast = Contrast {
    brain: &[(0, 0.0), (FLUID, 0.27), (GREY, 0.79), (WHITE, 1.0), (140, 1.2)],
    outside: &[(0, 0.0), (40, 0.33), (70, 0.68), (120, 1.2), (254, 2.1)],
    blood: 1.75,
    plexus: 1.6,
    oedema: 0.8,
    enhancing: [1.5, 2.0],
    core: [0.45, 0.6],
};

static T1_PRE: Contrast = Contrast {
    brain: &[(0, 0.0), (FLUID, 0.3), (GREY, 0.83), (WHITE, 1.0), (140, 1.15)],
    outside: &[(0, 0.0), (40, 0.3), (70, 0.58), (120, 1.1), (254, 1.9)],
    blood: 0.35,
    plexus: 0.7,
    oedema: 0.84,
    enhancing: [0.72, 0.84],
    core: [0.45, 0.6],
};

static T1_POST: Contrast = Contrast {
    brain: &[(0, 0.0), (FLUID, 0.3), (GREY, 0.86), (WHITE, 1.0), (140, 1.15)],
    outside: &[(0, 0.0), (40, 0.33), (70, 0.7), (120, 1.2), (254, 1.95)],
    blood: 0.38,
    plexus: 1.5,
    oedema: 0.84,
    enhancing: [1.5, 2.1],
    core: [0.48, 0.65],
};

static FLAIR: Contrast = Contrast {
    brain: &[
        (0, 0.03),
        (FLUID, 0.12),
        (44, 0.2),
        (64, 0.75),
        (GREY, 1.12),
        (100, 0.96),
        (WHITE, 0.84),
        (140, 0.8),
    ],
    outside: &[(0, 0.0), (44, 0.14), (70, 0.45), (120, 0.7), (254, 1.15)],
    blood: 0.16,
    plexus: 0.9,
    oedema: 1.6,
    enhancing: [1.15, 1.45],
    core: [1.2, 1.7],
};

impl Contrast {
    /// Signal of the atlas, one number a voxel, white matter = 1, without lesions.
    ///
    /// Towards the cut at the neck it fades over 8 mm, as it does at the end of a head coil.
    pub fn signal(&self, anatomy: &Anatomy, vessels: &Vessels, ctx: &Context) -> Vec<f32> {
        const FADE_SLICES: f32 = 8.0;
        let tables = [table(self.outside), table(self.brain)];
        let slice_len = SHAPE[0] * SHAPE[1];
        let mut signal = vec![0f32; LEN];
        ctx.fill(&mut signal, slice_len, |slice, out| {
            let fade = (slice as f32 / FADE_SLICES).min(1.0);
            for (n, out) in out.iter_mut().enumerate() {
                let at = slice * slice_len + n;
                let tissue = tables[usize::from(anatomy.brain[at])][usize::from(anatomy.t1[at])];
                let plexus = mix(tissue, self.plexus, vessels.plexus[at]);
                *out = fade * mix(plexus, self.blood, vessels.blood[at]);
            }
        });
        signal
    }
}

fn mix(below: f32, above: f32, share: u8) -> f32 {
    below + (above - below) * f32::from(share) / 255.0
}

/// The curve at each intensity: linear between its points, level beyond them.
fn table(curve: Curve) -> [f32; 256] {
    std::array::from_fn(|intensity| {
        let x = intensity as f32;
        let after = curve.iter().position(|&(at, _)| f32::from(at) >= x);
        match after {
            Some(0) => curve[0].1,
            Some(n) => {
                let ((x0, y0), (x1, y1)) = (curve[n - 1], curve[n]);
                let (x0, x1) = (f32::from(x0), f32::from(x1));
                y0 + (y1 - y0) * (x - x0) / (x1 - x0)
            }
            None => curve[curve.len() - 1].1,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tissues_rank_as_they_do_at_the_scanner() {
        let [bravo, pre, post, flair] = Sequence::ALL.map(Sequence::contrast);
        for t1 in [bravo, pre, post] {
            let brain = table(t1.brain);
            let at = |tissue: u8| brain[usize::from(tissue)];
            assert!(at(FLUID) < at(GREY) && at(GREY) < at(WHITE) && at(WHITE) == 1.0);
        }
        let brain = table(flair.brain);
        assert!(brain[usize::from(FLUID)] < 0.2 && brain[usize::from(GREY)] > brain[usize::from(WHITE)]);
        assert!(bravo.blood > 1.5 && pre.blood < 0.5 && post.blood < 0.5);
        assert!(pre.enhancing[1] < 1.0 && bravo.enhancing[0] > 1.3 && post.enhancing[0] > 1.3);
    }
}
