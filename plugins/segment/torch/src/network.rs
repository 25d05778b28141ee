//! The 2.5D GoogLeNet on libtorch.
//!
//! Layers are named as in the weight file, so that a missing weight is named. Batch normalisation follows each convolution
//! and is folded into its weights when they are loaded. Channels lie fastest in memory, which halves the time on a CPU.
//!
//! Source: Grøvik et al., JMRI 51:175, 2020, after Szegedy et al., CVPR 2015.

use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, TchError, Tensor};

/// Added to a variance before its root is taken: TensorFlow's default.
pub(crate) const NORMALISATION_EPSILON: f64 = 1e-3;

/// Blocks before the second pooling, and after it.
pub(crate) const FINE_BLOCKS: [&str; 7] = ["3a", "3b", "4a", "4b", "4c", "4d", "4e"];
pub(crate) const COARSE_BLOCKS: [&str; 2] = ["5a", "5b"];

/// Why a network cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NetworkError {
    /// The weights are no safetensors file.
    #[error("the weights are no safetensors file: {0}")]
    Format(String),
    /// A weight is not there.
    #[error("the weights have no tensor `{0}`")]
    Missing(String),
    /// A weight is of a type that is not read.
    #[error("tensor `{name}` holds {found:?} where F32, F16 or BF16 is expected")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// libtorch says no.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// A convolution with its batch normalisation folded in; `ReLU` follows.
struct Convolution {
    /// `[out, in, kernel, kernel]`.
    weight: Tensor,
    /// `[out]`.
    bias: Tensor,
    /// Zeros around a slice: half the kernel.
    padding: i64,
}

/// A block's six convolutions.
struct Block {
    b1: Convolution,
    b2a: Convolution,
    b2b: Convolution,
    b3a: Convolution,
    b3b: Convolution,
    b4: Convolution,
}

/// The network, ready to score.
pub(crate) struct Network {
    stem: [Convolution; 3],
    fine: Vec<Block>,
    coarse: Vec<Block>,
    /// `[in, 1, 8, 8]`.
    deconvolution_weight: Tensor,
    /// `[1]`.
    deconvolution_bias: Tensor,
}

impl Network {
    /// Puts the weights of a safetensors file on a device, to compute in `kind` there.
    ///
    /// # Errors
    /// [`NetworkError`], naming the tensor.
    pub(crate) fn load(file: &[u8], device: Device, kind: Kind) -> Result<Self, NetworkError> {
        let weights = Weights { kind, ..Weights::parse(file, device)? };
        Ok(Self {
            stem: [
                weights.convolution("conv1")?,
                weights.convolution("conv2")?,
                weights.convolution("conv3")?,
            ],
            fine: FINE_BLOCKS.iter().map(|name| weights.block(name)).collect::<Result<_, _>>()?,
            coarse: COARSE_BLOCKS.iter().map(|name| weights.block(name)).collect::<Result<_, _>>()?,
            deconvolution_weight: weights.tensor("deconv.weight")?.f_to_kind(kind)?.f_to_device(device)?,
            deconvolution_bias: weights.tensor("deconv.bias")?.f_to_kind(kind)?.f_to_device(device)?,
        })
    }

    /// Logits of a stack.
    ///
    /// * `stack`: `[batch, channel, height, width]`, height and width multiples of 4.
    ///
    /// Returns `[batch, 1, height, width]`.
    ///
    /// # Errors
    /// libtorch's, as when the channels are not those of the weights.
    pub(crate) fn logits(&self, stack: &Tensor) -> Result<Tensor, NetworkError> {
        let mut x = self.stem[0].apply(stack)?;
        x = self.stem[1].apply(&x)?;
        x = self.stem[2].apply(&x)?;
        x = halve(&x)?; // [batch, channel, height / 2, width / 2]
        for block in &self.fine {
            x = block.apply(&x)?;
        }
        x = halve(&x)?; // [batch, channel, height / 4, width / 4]
        for block in &self.coarse {
            x = block.apply(&x)?;
        }
        // Kernel 8, stride 4, padding 2: 4 (n - 1) - 4 + 8 = 4 n.
        let bias = Some(&self.deconvolution_bias);
        Ok(x.f_conv_transpose2d(&self.deconvolution_weight, bias, [4, 4], [2, 2], [0, 0], 1, [1, 1])?)
    }
}

impl Convolution {
    fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let padding = [self.padding; 2];
        x.f_conv2d(&self.weight, Some(&self.bias), [1, 1], padding, [1, 1], 1)?.f_relu_()
    }
}

impl Block {
    fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let three = self.b2b.apply(&self.b2a.apply(x)?)?;
        let five = self.b3b.apply(&self.b3a.apply(x)?)?;
        let pooled = self.b4.apply(&x.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false)?)?;
        Tensor::f_cat(&[self.b1.apply(x)?, three, five, pooled], 1)
    }
}

/// Maximum over 3 x 3 at every second voxel, with nothing to the left of the first: TensorFlow's `SAME` for even sizes.
pub(crate) fn halve(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], true)
}

/// The tensors of a weight file.
pub(crate) struct Weights<'a> {
    pub(crate) file: SafeTensors<'a>,
    pub(crate) device: Device,
    /// In which numbers the network computes.
    pub(crate) kind: Kind,
}

impl<'a> Weights<'a> {
    /// Reads a safetensors file's header.
    ///
    /// # Errors
    /// [`NetworkError::Format`].
    pub(crate) fn parse(file: &'a [u8], device: Device) -> Result<Self, NetworkError> {
        let file = SafeTensors::deserialize(file).map_err(|error| NetworkError::Format(error.to_string()))?;
        Ok(Self { file, device, kind: Kind::Float })
    }

    /// A tensor in f64, on the CPU.
    ///
    /// # Errors
    /// [`NetworkError`], naming the tensor.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor, NetworkError> {
        let view = self.file.tensor(name).map_err(|_| NetworkError::Missing(name.to_owned()))?;
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            found => return Err(NetworkError::Type { name: name.to_owned(), found }),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&axis| axis as i64).collect();
        Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?.f_to_kind(Kind::Double)?)
    }

    /// A convolution `w * x` and its normalisation `g (y - m) / sqrt(v + e) + b` as one: `(s w) * x + (b - s m)`, with
    /// `s = g / sqrt(v + e)`; in f64, rounded once.
    fn convolution(&self, name: &str) -> Result<Convolution, NetworkError> {
        let weight = self.tensor(&format!("{name}.conv.weight"))?; // [out, in, kernel, kernel]
        let part = |part: &str| self.tensor(&format!("{name}.bn.{part}"));
        let deviation = part("running_var")?.f_add_scalar(NORMALISATION_EPSILON)?.f_sqrt()?;
        let scale = part("weight")?.f_div(&deviation)?; // [out]
        let bias = part("bias")?.f_sub(&part("running_mean")?.f_mul(&scale)?)?;
        let weight = weight.f_mul(&scale.f_reshape([-1, 1, 1, 1])?)?.f_to_kind(self.kind)?;
        let channels_fastest = weight
            .f_permute([0, 2, 3, 1])?
            .f_contiguous()?
            .f_permute([0, 3, 1, 2])?
            .f_to_device(self.device)?;
        let padding = weight.size()[3] / 2;
        let bias = bias.f_to_kind(self.kind)?.f_to_device(self.device)?;
        Ok(Convolution { weight: channels_fastest, bias, padding })
    }

    fn block(&self, name: &str) -> Result<Block, NetworkError> {
        let branch = |branch: &str| self.convolution(&format!("inception{name}.{branch}"));
        Ok(Block {
            b1: branch("b1")?,
            b2a: branch("b2a")?,
            b2b: branch("b2b")?,
            b3a: branch("b3a")?,
            b3b: branch("b3b")?,
            b4: branch("b4")?,
        })
    }
}
