//! The C table between plugin `segment`, which links no libtorch, and its backend, which does.
//!
//! Two libraries meet here that may come from different builds, so everything is plain C layout, and the first field of
//! [`Table`] is a version that never moves. Memory belongs to who made it: a [`Lent`] block, a [`Batch`] and a
//! [`Message`] are the caller's and live for one call; a [`Session`] is the backend's until `close`, a [`Trainer`] until
//! `close_trainer`, a [`Gradient`] until `step` takes it or `drop_gradient`.

use std::marker::PhantomData;

/// Version of this table. A backend of another version is refused.
pub const VERSION: u32 = 5;
/// The backend's library, without `lib` and `.so`.
pub const LIBRARY: &str = "neuroloom_segment_torch";
/// The one symbol of the backend: a function of type [`Entry`].
pub const SYMBOL: &str = "neuroloom_segment_backend";

/// Before a weight's name: Adam's running mean of its gradient, and of the gradient's square.
pub const MOMENTS: [&str; 2] = ["adam.m.", "adam.v."];
/// A tensor of one number: steps taken so far, at most 2^24 (a float counts no further).
pub const STEPS: &str = "adam.steps";

/// Bytes that the caller lends for one call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Lent<'a> {
    /// First byte; never null.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
    life: PhantomData<&'a [u8]>,
}

impl<'a> Lent<'a> {
    /// Lends these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len(), life: PhantomData }
    }
}

/// A block of the caller into which a call writes UTF-8 text: why it failed, or what a user should know.
#[repr(C)]
#[derive(Debug)]
pub struct Message<'a> {
    /// First byte; never null.
    pub ptr: *mut u8,
    /// Bytes there are.
    pub capacity: usize,
    /// Bytes written.
    pub len: usize,
    life: PhantomData<&'a mut [u8]>,
}

impl<'a> Message<'a> {
    /// An empty message in this block.
    pub const fn new(block: &'a mut [u8]) -> Self {
        Self { ptr: block.as_mut_ptr(), capacity: block.len(), len: 0, life: PhantomData }
    }
}

/// What a session is opened with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// A whole safetensors file.
    pub weights: Lent<'a>,
    /// `cpu`, `cuda:0` … or `auto`, UTF-8.
    pub device: Lent<'a>,
}

/// [`Scoring::format`] of a safetensors file with the weights of the 2.5D network.
pub const FORMAT_SLICES: u32 = 0;
/// [`Scoring::format`] of a TorchScript file, which brings its own network.
pub const FORMAT_SCRIPT: u32 = 1;

/// What a session for scoring is opened with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    /// A whole file.
    pub weights: Lent<'a>,
    /// `cpu`, `cuda:0` … or `auto`, UTF-8.
    pub device: Lent<'a>,
    /// What the file is: [`FORMAT_SLICES`] or [`FORMAT_SCRIPT`].
    pub format: u32,
    /// 0 computes in f32, 1 in bf16.
    pub half: u32,
}

/// Slices to score.
#[repr(C)]
#[derive(Debug)]
pub struct Batch<'a> {
    /// `[batch, height, width, channel]`, channel fastest; never null.
    pub stack: *const f32,
    /// The four lengths of `stack`.
    pub shape: [usize; 4],
    /// `[batch, height, width]`, width fastest: where the logits go; never null.
    pub logits: *mut f32,
    life: PhantomData<&'a mut [f32]>,
}

impl<'a> Batch<'a> {
    /// A batch; `None` if a length does not fit `shape`.
    pub fn new(stack: &'a [f32], shape: [usize; 4], logits: &'a mut [f32]) -> Option<Self> {
        let slices = shape[..3].iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis))?;
        let fits = logits.len() == slices && slices.checked_mul(shape[3]) == Some(stack.len());
        fits.then_some(Self { stack: stack.as_ptr(), shape, logits: logits.as_mut_ptr(), life: PhantomData })
    }
}

/// Patches for a TorchScript network.
#[repr(C)]
#[derive(Debug)]
pub struct Patches<'a> {
    /// `[batch, channel, …]` in C order; never null.
    pub input: *const f32,
    /// Lengths of `input`, slowest first; never null.
    pub shape: *const usize,
    /// How many lengths there are: 4 or 5.
    pub axes: usize,
    /// `[batch, class, …]` with the same lengths after the second; never null.
    pub output: *mut f32,
    /// Numbers that fit there.
    pub output_len: usize,
    life: PhantomData<&'a mut [f32]>,
}

impl<'a> Patches<'a> {
    /// Patches; `None` if a length does not fit `shape`.
    pub fn new(input: &'a [f32], shape: &'a [usize], output: &'a mut [f32]) -> Option<Self> {
        let len = shape.iter().try_fold(1_usize, |len, &axis| len.checked_mul(axis))?;
        let fits = matches!(shape.len(), 4 | 5) && len == input.len() && len > 0 && !output.is_empty();
        fits.then_some(Self {
            input: input.as_ptr(),
            shape: shape.as_ptr(),
            axes: shape.len(),
            output: output.as_mut_ptr(),
            output_len: output.len(),
            life: PhantomData,
        })
    }
}

/// A network on a device; the backend's own.
#[repr(C)]
#[derive(Debug)]
pub struct Session {
    opaque: [u8; 0],
}

/// How weights are changed: Adam (Kingma and Ba, ICLR 2015) on a weighted cross-entropy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Step size, above 0.
    pub learning_rate: f64,
    /// Decay of the mean of gradients, 0..1.
    pub beta1: f64,
    /// Decay of the mean of their squares, 0..1.
    pub beta2: f64,
    /// Added to the root of the latter, above 0.
    pub epsilon: f64,
    /// Times a kernel, added to its gradient; normalisation and biases are left alone.
    pub l2: f64,
    /// Weight of a lesion voxel in the loss, above 0; others weigh 1.
    pub positive_weight: f64,
    /// What the running means of normalisation keep at each step, 0..1.
    pub normalisation_decay: f64,
    /// 0 computes in f32; 1 convolves in bf16, while weights, moments, statistics and loss stay in f32.
    pub half: u32,
}

/// Slices to learn from.
#[repr(C)]
#[derive(Debug)]
pub struct Lesson<'a> {
    /// `[batch, height, width, channel]`, channel fastest; never null.
    pub stack: *const f32,
    /// The four lengths of `stack`.
    pub shape: [usize; 4],
    /// `[batch, height, width]`: 1 in a lesion, else 0; never null.
    pub truth: *const f32,
    life: PhantomData<&'a [f32]>,
}

impl<'a> Lesson<'a> {
    /// A lesson; `None` if a length does not fit `shape`.
    pub fn new(stack: &'a [f32], shape: [usize; 4], truth: &'a [f32]) -> Option<Self> {
        let slices = shape[..3].iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis))?;
        let fits = truth.len() == slices && slices.checked_mul(shape[3]) == Some(stack.len());
        fits.then_some(Self { stack: stack.as_ptr(), shape, truth: truth.as_ptr(), life: PhantomData })
    }
}

/// A network that learns; the backend's own.
#[repr(C)]
#[derive(Debug)]
pub struct Trainer {
    opaque: [u8; 0],
}

/// What one lesson says of all weights; the backend's own.
#[repr(C)]
#[derive(Debug)]
pub struct Gradient {
    opaque: [u8; 0],
}

/// What a backend offers. All functions catch their own panics and exceptions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// [`VERSION`]; read before anything else.
    pub version: u32,
    /// Opens a network. Null means failed, with the reason in the message; else the message may hold a note.
    pub open: unsafe extern "C" fn(&Scoring<'_>, &mut Message<'_>) -> *mut Session,
    /// Scores slices. False means failed, with the reason in the message. On a CPU each call takes the calling thread alone;
    /// calls may come from several threads at once.
    pub logits: unsafe extern "C" fn(*const Session, &Batch<'_>, &mut Message<'_>) -> bool,
    /// Runs a TorchScript network. False means failed, with the reason in the message. Threads as for `logits`.
    pub forward: unsafe extern "C" fn(*const Session, &Patches<'_>, &mut Message<'_>) -> bool,
    /// Closes a session; it is not used again.
    pub close: unsafe extern "C" fn(*mut Session),
    /// Opens a network to train. Beside its weights the file may hold what [`MOMENTS`] and [`STEPS`] name, to go on from.
    pub open_trainer: unsafe extern "C" fn(&Opening<'_>, &Recipe, &mut Message<'_>) -> *mut Trainer,
    /// The gradient of a lesson's mean loss; null means failed. On a CPU each call takes the calling thread alone; calls may come
    /// from several threads at once, but not during `step`.
    pub gradient: unsafe extern "C" fn(*const Trainer, &Lesson<'_>, &mut Message<'_>) -> *mut Gradient,
    /// One step along the mean of gradients (never none), summed in their order, of that share (0..=1) of the recipe's step size;
    /// takes the gradients, whatever comes. Returns the mean loss; NaN means failed, or that the loss is none.
    pub step: unsafe extern "C" fn(*mut Trainer, *const *mut Gradient, usize, f64, &mut Message<'_>) -> f64,
    /// Copies the tensor of that name (a weight; a moment under its prefix) into as many floats as it has.
    pub read: unsafe extern "C" fn(*const Trainer, Lent<'_>, *mut f32, usize, &mut Message<'_>) -> bool,
    /// Closes a trainer; it is not used again.
    pub close_trainer: unsafe extern "C" fn(*mut Trainer),
    /// Gives a gradient back that no step took.
    pub drop_gradient: unsafe extern "C" fn(*mut Gradient),
}

/// Type of the function [`SYMBOL`].
pub type Entry = extern "C" fn() -> &'static Table;
