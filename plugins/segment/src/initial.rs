//! Weights that any language can rebuild bit for bit, so that two implementations of the network can be compared.
//!
//! Each number is a hash of the tensor's name, a seed and its own place, scaled as He initialisation asks. They tell of no
//! training whatever.
//!
//! Source: splitmix64 (Steele, Lea, Flood, OOPSLA 2014) and FNV-1a for the hash; He et al., ICCV 2015, for the scale.

use crate::network::Tensor;

/// splitmix64's step: 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Taps of the transposed convolution that reach one voxel, per channel: (8 / 4)^2.
const DECONVOLUTION_TAPS: f64 = 4.0;

/// FNV-1a of a name's UTF-8 bytes.
fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// splitmix64's finaliser.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform numbers in -1..1 for the places 0, 1, … of a tensor, in C order.
fn uniform(seed: u64, name: &str) -> impl Iterator<Item = f64> {
    let start = fnv1a64(name) ^ seed.wrapping_mul(GOLDEN);
    (1_u64..).map(move |place| {
        let bits = mix(start.wrapping_add(place.wrapping_mul(GOLDEN))) >> 11;
        bits as f64 / (1_u64 << 52) as f64 - 1.0
    })
}

/// The initial numbers of a tensor, in C order.
///
/// Kernels are uniform within sqrt(6 / fan-in); normalisation scales within 1 ± 0.2, variances within 1 ± 0.5, all else
/// within ± 0.1. Computed in f64 and rounded once.
pub fn weights(tensor: &Tensor, seed: u64) -> Vec<f32> {
    let name = tensor.name.as_str();
    let (centre, spread) = if name == "deconv.weight" {
        (0.0, (6.0 / (tensor.shape[0] as f64 * DECONVOLUTION_TAPS)).sqrt())
    } else if name.ends_with(".conv.weight") {
        (0.0, (6.0 / tensor.shape[1..].iter().product::<usize>() as f64).sqrt())
    } else if name.ends_with(".bn.weight") {
        (1.0, 0.2)
    } else if name.ends_with(".bn.running_var") {
        (1.0, 0.5)
    } else {
        (0.0, 0.1)
    };
    uniform(seed, name).take(tensor.len()).map(|u| (centre + u * spread) as f32).collect()
}

/// The numbers of a tensor before training: kernels as [`weights`], normalisation that changes nothing.
///
/// * `bias`: the output's logit.
///
/// Source: He et al., ICCV 2015.
pub fn untaught(tensor: &Tensor, seed: u64, bias: f32) -> Vec<f32> {
    let same = |number: f32| vec![number; tensor.len()];
    match tensor.name.as_str() {
        "deconv.bias" => same(bias),
        name if name.ends_with(".weight") && !name.ends_with(".bn.weight") => weights(tensor, seed),
        name if name.ends_with(".bn.weight") || name.ends_with(".bn.running_var") => same(1.0),
        _ => same(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::tensors;

    fn first(name: &str, count: usize) -> Vec<f32> {
        let tensor = tensors(1.0, 28).into_iter().find(|tensor| tensor.name == name).unwrap();
        weights(&tensor, 1)[..count].to_vec()
    }

    #[test]
    fn names_hash_to_the_published_numbers() {
        assert_eq!(fnv1a64("conv1.conv.weight"), 0x7630_f278_fa95_3344);
        assert_eq!(fnv1a64("deconv.bias"), 0x05f1_b3eb_bcb2_8dc7);
    }

    #[test]
    fn the_uniform_numbers_are_the_published_ones() {
        let numbers: Vec<f64> = uniform(1, "conv1.conv.weight").take(3).collect();
        assert_eq!(numbers, [-0.883_323_069_601_187_1, -0.800_543_453_298_116_4, -0.155_597_799_865_196_95]);
    }

    #[test]
    fn the_first_weights_of_each_kind_of_tensor_are_the_published_ones() {
        let published: [(&str, &[f32]); 5] = [
            ("conv1.conv.weight", &[-0.058_414_16, -0.052_939_94, -0.010_289_68]),
            ("conv1.bn.weight", &[1.130_842_7]),
            ("conv1.bn.running_var", &[0.955_181_4]),
            ("deconv.weight", &[0.003_182_926]),
            ("deconv.bias", &[-0.088_085_09]),
        ];
        for (name, numbers) in published {
            for (found, expected) in first(name, numbers.len()).iter().zip(numbers) {
                // They are published with seven digits.
                assert!((found - expected).abs() <= 5e-7 * expected.abs(), "{name}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn another_seed_gives_other_weights() {
        let tensor = Tensor { name: "deconv.bias".to_owned(), shape: vec![1] };
        assert_ne!(weights(&tensor, 1), weights(&tensor, 2));
    }

    #[test]
    fn before_training_normalisation_changes_nothing_and_kernels_are_drawn() {
        for tensor in tensors(0.0625, 28) {
            let numbers = untaught(&tensor, 1, -3.5);
            let name = &tensor.name;
            let expected =
                if name.contains(".bn.weight") || name.contains("running_var") { 1.0 } else { 0.0 };
            if name == "deconv.bias" {
                assert_eq!(numbers, [-3.5]);
            } else if name.contains(".bn.") {
                assert!(numbers.iter().all(|number| *number == expected), "{name}");
            } else {
                assert_eq!(numbers, weights(&tensor, 1), "{name}");
            }
        }
    }
}
