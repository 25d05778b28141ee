"""Logits of the 2.5D GoogLeNet by PyTorch, for the Rust network to agree with.

    python3 -m venv venv && venv/bin/pip install torch==2.11.0 numpy safetensors
    venv/bin/python make_golden.py        # writes logits.safetensors and logits_256.safetensors beside this file

Everything here is written from the method's description, not from the Rust code: the weights are rebuilt from their hash,
batch normalisation is not folded, the layout is torch's own. The input is a formula, so that no file has to carry it.
"""

import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

SEED = 1
SIDE = 64
# The full network at the paper's size, two slices at once; of its logits every 8th row and column is kept.
FULL_SIDE, FULL_BATCH, KEPT = 256, 2, 8
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
EPSILON = 1e-3
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def fnv1a64(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def uniform(name, count):
    """Numbers in -1..1 that depend on the name, the seed and the place alone."""
    with np.errstate(over="ignore"):
        start = np.uint64(fnv1a64(name)) ^ (np.uint64(SEED) * GOLDEN)
        z = start + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def tensor(name, shape, centre, spread):
    numbers = centre + uniform(name, math.prod(shape)) * spread
    return torch.from_numpy(numbers.reshape(shape).astype(np.float32))


class Net:
    def __init__(self, width):
        self.width = width

    def count(self, channels):
        # Python rounds ties to even.
        return max(4, 4 * round(channels * self.width / 4))

    def convolve(self, x, name, out, kernel):
        weight = tensor(f"{name}.conv.weight", (out, x.shape[1], kernel, kernel), 0.0,
                        math.sqrt(6.0 / (x.shape[1] * kernel * kernel)))
        x = F.conv2d(x, weight, padding=kernel // 2)
        mean = tensor(f"{name}.bn.running_mean", (out,), 0.0, 0.1)
        variance = tensor(f"{name}.bn.running_var", (out,), 1.0, 0.5)
        gain = tensor(f"{name}.bn.weight", (out,), 1.0, 0.2)
        bias = tensor(f"{name}.bn.bias", (out,), 0.0, 0.1)
        return F.relu(F.batch_norm(x, mean, variance, gain, bias, training=False, eps=EPSILON))

    def block(self, x, name):
        one, three_in, three, five_in, five, pool = (self.count(c) for c in BLOCKS[name])
        name = f"inception{name}"
        return torch.cat([
            self.convolve(x, f"{name}.b1", one, 1),
            self.convolve(self.convolve(x, f"{name}.b2a", three_in, 1), f"{name}.b2b", three, 3),
            self.convolve(self.convolve(x, f"{name}.b3a", five_in, 1), f"{name}.b3b", five, 5),
            self.convolve(F.max_pool2d(x, 3, stride=1, padding=1), f"{name}.b4", pool, 1),
        ], dim=1)

    def __call__(self, x):
        x = self.convolve(x, "conv1", self.count(64), 7)
        x = self.convolve(x, "conv2", self.count(64), 1)
        x = self.convolve(x, "conv3", self.count(192), 3)
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e"):
            x = self.block(x, name)
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        for name in ("5a", "5b"):
            x = self.block(x, name)
        weight = tensor("deconv.weight", (x.shape[1], 1, 8, 8), 0.0, math.sqrt(6.0 / (x.shape[1] * 4)))
        return F.conv_transpose2d(x, weight, tensor("deconv.bias", (1,), 0.0, 0.1), stride=4, padding=2)


def stack(side, batch):
    """(17 (c + 3 b) + 5 i^2 + 3 i j + 11 j) mod 97 / 96 for slice b, channel c, row j, column i: in 0..=1, no symmetry."""
    b, c, j, i = np.meshgrid(np.arange(batch), np.arange(28), np.arange(side), np.arange(side), indexing="ij")
    return torch.from_numpy((((17 * (c + 3 * b) + 5 * i * i + 3 * i * j + 11 * j) % 97) / 96.0).astype(np.float32))


def save(name, tensors):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    save_file(tensors, path, metadata={"made_by": f"make_golden.py with torch {torch.__version__}", "seed": str(SEED)})


if __name__ == "__main__":
    with torch.no_grad():
        logits = {f"width_{width}": Net(width)(stack(SIDE, 1))[0, 0].numpy() for width in (0.25, 1.0)}
        full = Net(1.0)(stack(FULL_SIDE, FULL_BATCH))[:, 0].numpy()
    for name, values in logits.items():
        assert values.shape == (SIDE, SIDE)
        print(name, values.min(), values.max(), values.std())
    save("logits.safetensors", logits)
    save("logits_256.safetensors", {"width_1.0": np.ascontiguousarray(full[:, ::KEPT, ::KEPT])})
