//! Networks that a TorchScript file brings along.

use tch::{CModule, Device, IValue, Kind, TchError, Tensor};

/// Longest part of libtorch's words on a network that failed: its traces of the script run to pages.
const WORDS: usize = 600;

/// Why a TorchScript network cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ScriptError {
    /// libtorch cannot read the file.
    #[error(
        "libtorch cannot read the TorchScript file: {0}\n\
         hint: export it again with torch.jit.trace or torch.jit.script, by a PyTorch no newer than 2.11"
    )]
    Load(String),
    /// The network fails on an input of the card's channels and patch.
    #[error(
        "the network fails on an input of {shape:?}: {words}\n\
         hint: are `channels`, `input`, `slices` and `patch` of its card what it was trained with?"
    )]
    Forward {
        /// Lengths of the input.
        shape: Vec<i64>,
        /// What libtorch says.
        words: String,
    },
    /// The network makes no tensor.
    #[error("the network makes no tensor, but {0}\nhint: export a network that returns its logits alone")]
    NoTensor(String),
    /// What the network makes has another size.
    #[error(
        "the network makes {found:?} where {expected:?} is expected\n\
         hint: are `classes` and `patch` of its card what it was trained with?"
    )]
    Shape {
        /// Lengths of what it made.
        found: Vec<i64>,
        /// Lengths that the card asks for.
        expected: Vec<i64>,
    },
    /// libtorch says no.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// A TorchScript network, ready to run.
pub(crate) struct Script(CModule);

impl Script {
    /// Puts the network of a TorchScript file on a device, to compute in `kind` there.
    ///
    /// # Errors
    /// [`ScriptError::Load`]; no memory.
    pub(crate) fn load(file: &[u8], device: Device, kind: Kind) -> Result<Self, ScriptError> {
        let load = |error: TchError| ScriptError::Load(words(&error));
        let mut reader = file;
        let mut module = CModule::load_data_on_device(&mut reader, device).map_err(load)?;
        if kind != Kind::Float {
            module.to(device, kind, false);
        }
        // A frozen module is in evaluation mode for good and says so by failing here.
        let _ = module.f_set_eval();
        Ok(Self(module))
    }

    /// What the network makes of an input; of several things, as with deep supervision, the first.
    ///
    /// # Errors
    /// [`ScriptError::Forward`], [`ScriptError::NoTensor`].
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, ScriptError> {
        let failed = |error: TchError| ScriptError::Forward { shape: input.size(), words: words(&error) };
        let made = self.0.forward_is(&[IValue::Tensor(input.shallow_clone())]).map_err(failed)?;
        first_tensor(made)
    }
}

fn first_tensor(made: IValue) -> Result<Tensor, ScriptError> {
    match made {
        IValue::Tensor(tensor) => Ok(tensor),
        IValue::TensorList(list) if !list.is_empty() => Ok(list[0].shallow_clone()),
        IValue::Tuple(list) | IValue::GenericList(list) if !list.is_empty() => {
            first_tensor(list.into_iter().next().unwrap_or(IValue::None))
        }
        other => Err(ScriptError::NoTensor(format!("{other:?}").chars().take(80).collect())),
    }
}

/// Holds what a network made against what its input and card promise.
///
/// * `made`, `input`: lengths, `[batch, channel, …]`. `len`: numbers that are expected.
///
/// # Errors
/// [`ScriptError::Shape`].
pub(crate) fn check_shape(made: &[i64], input: &[i64], len: usize) -> Result<(), ScriptError> {
    let mut expected = input.to_vec();
    let voxels: i64 = input[0] * input[2..].iter().product::<i64>();
    expected[1] = i64::try_from(len).unwrap_or(i64::MAX) / voxels.max(1);
    if made == expected { Ok(()) } else { Err(ScriptError::Shape { found: made.to_vec(), expected }) }
}

/// libtorch's own words, without the pages of C++ that follow them.
fn words(error: &TchError) -> String {
    let text = error.to_string();
    // A want of memory is told by these words, wherever they stand.
    if let Some(line) =
        text.lines().find(|line| line.contains("out of memory") || line.contains("allocate memory"))
    {
        return line.chars().take(WORDS).collect();
    }
    let start = text.find("RuntimeError: ").map_or(0, |at| at + "RuntimeError: ".len());
    let text = text[start..].lines().find(|line| !line.trim().is_empty()).unwrap_or(&text);
    text.chars().take(WORDS).collect()
}
