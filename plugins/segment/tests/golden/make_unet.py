"""Exports a small 3D U-Net as TorchScript, and what sliding-window inference with it makes in PyTorch.

    python3 -m venv venv && venv/bin/pip install torch==2.11.0 numpy safetensors
    venv/bin/python make_unet.py          # writes unet.pt and unet_blended.safetensors beside this file

The sliding window is written here from its description, with torch alone, not from the Rust code. The input is a formula.
"""

import io
import math
import os
import zipfile

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

SHAPE = (21, 26, 30)  # k, j, i
PATCH = (8, 16, 16)
OVERLAP = 0.5


class UNet(torch.nn.Module):
    """Two channels in, two classes out, one halving."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv3d(2, 6, 3, padding=1)
        self.down = torch.nn.Conv3d(6, 12, 3, stride=2, padding=1)
        self.deep = torch.nn.Conv3d(12, 12, 3, padding=1)
        self.up = torch.nn.ConvTranspose3d(12, 6, 2, stride=2)
        self.last = torch.nn.Conv3d(12, 2, 1)

    def forward(self, x):
        fine = F.relu(self.first(x))
        coarse = F.relu(self.deep(F.relu(self.down(fine))))
        return self.last(torch.cat([fine, self.up(coarse)], dim=1))


def volume():
    """Channel c at i, j, k: (7 i + 5 j + 3 k + 11 i j + 13 c k) mod 37 / 36."""
    c, k, j, i = np.meshgrid(np.arange(2), *(np.arange(n) for n in SHAPE), indexing="ij")
    return torch.from_numpy((((7 * i + 5 * j + 3 * k + 11 * i * j + 13 * c * k) % 37) / 36.0).astype(np.float32))


def starts(size, patch):
    steps = math.ceil((size - patch) / (patch * (1 - OVERLAP)))
    # Half up, where Python's round would go to even.
    return [math.floor(n * (size - patch) / steps + 0.5) for n in range(steps + 1)]


def gaussian(patch):
    axes = []
    for side in patch:
        n = torch.arange(side, dtype=torch.float64)
        axes.append(torch.exp(-(((n - (side - 1) / 2) / (side / 8)) ** 2) / 2).float())
    return axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]


def blended(network, image):
    sums, total = torch.zeros((2, *SHAPE)), torch.zeros(SHAPE)
    weight = gaussian(PATCH)
    for z in starts(SHAPE[0], PATCH[0]):
        for y in starts(SHAPE[1], PATCH[1]):
            for x in starts(SHAPE[2], PATCH[2]):
                at = (slice(z, z + PATCH[0]), slice(y, y + PATCH[1]), slice(x, x + PATCH[2]))
                said = network(image[(slice(None), *at)][None])[0]
                sums[(slice(None), *at)] += weight * said
                total[at] += weight
    return sums / total


def save_script(script, path):
    """Saves without the parts that hold the folders of the machine on which it was made."""
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    with zipfile.ZipFile(buffer) as made, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as kept:
        for part in made.infolist():
            if not part.filename.endswith(".debug_pkl"):
                kept.writestr(zipfile.ZipInfo(part.filename), made.read(part))


if __name__ == "__main__":
    torch.manual_seed(1)
    network = UNet().eval()
    with torch.no_grad():
        # Initial weights make logits near each other; wider ones show more.
        network.last.weight *= 4
        image = volume()
        plain = torch.softmax(blended(network, image), 0)[1]
        # Mirrored along i and along j: four looks, the mean of their logits.
        looks = []
        for axes in ([], [3], [2], [2, 3]):
            looks.append(torch.flip(blended(network, torch.flip(image, axes)), axes))
        mirrored = torch.softmax(torch.stack(looks).mean(0), 0)[1]
        spread = torch.stack([torch.softmax(look, 0)[1] for look in looks]).std(0, correction=0)
        here = os.path.dirname(os.path.abspath(__file__))
        save_script(torch.jit.trace(network, torch.zeros(1, 2, *PATCH)), os.path.join(here, "unet.pt"))
    print(plain.min(), plain.max(), plain.std(), spread.mean())
    tensors = {"plain": plain, "mirrored": mirrored, "spread": spread}
    save_file({name: tensor.contiguous().numpy() for name, tensor in tensors.items()}, os.path.join(here, "unet_blended.safetensors"),
              metadata={"made_by": f"make_unet.py with torch {torch.__version__}"})
