//! Names and shapes of the 2.5D GoogLeNet's weights.
//!
//! GoogLeNet without its first, third and fourth spatial halving: two poolings remain, so features lie on a grid four times
//! coarser than the slice, and one transposed convolution leads back to it. Every convolution is followed by batch
//! normalisation and `ReLU`; local response normalisation, dropout and auxiliary heads are left out; the third branch of a
//! block is a true 5 x 5.
//!
//! Source: Grøvik et al., JMRI 51:175, 2020, after Szegedy et al., CVPR 2015.

/// Height and width of a slice must be multiples of this: two poolings, undone by one transposed convolution.
pub const STRIDE: usize = 4;

/// Side of the transposed convolution's kernel, in voxels.
pub const DECONVOLUTION_KERNEL: usize = 8;

/// Batch normalisation's tensors, after the convolution's name.
pub const NORMALISATION: [&str; 4] = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];

/// Channels of a block's branches at width 1: `1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection`.
const BLOCKS: [(&str, [usize; 6]); 9] = [
    ("inception3a", [64, 96, 128, 16, 32, 32]),
    ("inception3b", [128, 128, 192, 32, 96, 64]),
    ("inception4a", [192, 96, 208, 16, 48, 64]),
    ("inception4b", [160, 112, 224, 24, 64, 64]),
    ("inception4c", [128, 128, 256, 24, 64, 64]),
    ("inception4d", [112, 144, 288, 32, 64, 64]),
    ("inception4e", [256, 160, 320, 32, 128, 128]),
    ("inception5a", [256, 160, 320, 32, 128, 128]),
    ("inception5b", [384, 192, 384, 48, 128, 128]),
];

/// A convolution, which has batch normalisation after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Its name in the weight file, without `.conv.weight`.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Side of its square kernel, in voxels.
    pub kernel: usize,
}

/// A tensor of the weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its lengths, slowest axis first.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// Numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Channels of a layer that has `channels` at width 1: the nearest multiple of 4 (ties to the even one), at least 4.
pub fn scaled(channels: usize, width: f64) -> usize {
    let fours = (channels as f64 * width / 4.0).round_ties_even() as usize;
    (4 * fours).max(4)
}

/// All convolutions in the order they are applied, and the channels that reach the transposed convolution.
///
/// * `width`: factor on every channel count, 1 is the paper's.
/// * `inputs`: channels of the stack, slices times sequences: 28 in the paper.
pub fn convolutions(width: f64, inputs: usize) -> (Vec<Convolution>, usize) {
    let mut list = Vec::new();
    let mut add = |name: &str, inputs: usize, outputs: usize, kernel: usize| {
        list.push(Convolution { name: name.to_owned(), inputs, outputs, kernel });
        outputs
    };
    let c = |channels| scaled(channels, width);
    let mut channels = add("conv1", inputs, c(64), 7);
    channels = add("conv2", channels, c(64), 1);
    channels = add("conv3", channels, c(192), 3);
    for (block, [one, three_in, three, five_in, five, pool]) in BLOCKS {
        let before = channels;
        channels = add(&format!("{block}.b1"), before, c(one), 1);
        let reduced = add(&format!("{block}.b2a"), before, c(three_in), 1);
        channels += add(&format!("{block}.b2b"), reduced, c(three), 3);
        let reduced = add(&format!("{block}.b3a"), before, c(five_in), 1);
        channels += add(&format!("{block}.b3b"), reduced, c(five), 5);
        channels += add(&format!("{block}.b4"), before, c(pool), 1);
    }
    (list, channels)
}

/// All tensors of a weight file, in the order they are applied.
///
/// * `width`, `inputs`: as for [`convolutions`].
pub fn tensors(width: f64, inputs: usize) -> Vec<Tensor> {
    let (convolutions, last) = convolutions(width, inputs);
    let mut list = Vec::new();
    for layer in &convolutions {
        let shape = vec![layer.outputs, layer.inputs, layer.kernel, layer.kernel];
        list.push(Tensor { name: format!("{}.conv.weight", layer.name), shape });
        let normalisation = NORMALISATION
            .map(|part| Tensor { name: format!("{}.{part}", layer.name), shape: vec![layer.outputs] });
        list.extend(normalisation);
    }
    let shape = vec![last, 1, DECONVOLUTION_KERNEL, DECONVOLUTION_KERNEL];
    list.push(Tensor { name: "deconv.weight".to_owned(), shape });
    list.push(Tensor { name: "deconv.bias".to_owned(), shape: vec![1] });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Channels of the paper's stack: seven slices of four sequences.
    const STACK: usize = 28;

    fn trainable(width: f64) -> usize {
        let learnt = |tensor: &&Tensor| !tensor.name.contains("running");
        tensors(width, STACK).iter().filter(learnt).map(Tensor::len).sum()
    }

    #[test]
    fn the_network_has_as_many_parameters_as_the_paper_implies() {
        assert_eq!((trainable(1.0), trainable(0.5), trainable(0.25)), (6_124_769, 1_573_169, 416_401));
    }

    #[test]
    fn three_stem_layers_and_nine_blocks_make_57_convolutions() {
        let (layers, last) = convolutions(1.0, STACK);
        assert_eq!((layers.len(), last), (57, 1024));
        assert_eq!(tensors(1.0, STACK).len(), 57 * 5 + 2);
    }

    #[test]
    fn block_3a_has_the_parameters_of_its_row() {
        let (layers, _) = convolutions(1.0, STACK);
        let of_3a = layers.iter().filter(|layer| layer.name.starts_with("inception3a"));
        assert_eq!(of_3a.map(|l| l.inputs * l.outputs * l.kernel * l.kernel).sum::<usize>(), 163_328);
    }

    /// 10 x 0.25 is 2.5 channels: never fewer than 4; 24 x 0.25 = 6 lies between 4 and 8 and goes to 2 x 4.
    #[test]
    fn scaled_channels_are_multiples_of_four_with_ties_to_even() {
        assert_eq!((scaled(10, 0.25), scaled(24, 0.25), scaled(40, 0.25), scaled(64, 1.0)), (4, 8, 8, 64));
    }
}
