"""The network's forward pass on a CPU beside PyTorch eager: same weights, input, f32, channels-last, threads, in one run.

    python3 -m venv venv && venv/bin/pip install torch==2.11.0 numpy safetensors
    venv/bin/python plugins/segment/tests/peer_pytorch.py target/release/bench_segment --slices 4 --rounds 3

Rounds alternate, so that what else the machine does falls on all alike; medians of wall time, and of the processor's seconds, which
depend less on it. PyTorch is timed twice: with its normalisation as layers, and folded into the convolutions as `segment` does.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import make_golden as golden  # noqa: E402

# The weights of the transposed convolution are asked for at each pass: they are made once.
golden.tensor = functools.lru_cache(maxsize=None)(golden.tensor)


class Eager(golden.Net):
    """The golden network with its weights made once, channels-last; `folded` puts normalisation into the weights."""

    def __init__(self, width, folded):
        super().__init__(width)
        self.folded, self.made = folded, {}

    def convolve(self, x, name, out, kernel):
        if name not in self.made:
            self.made[name] = self.weights(name, out, x.shape[1], kernel)
        weight, bias, rest = self.made[name]
        x = F.conv2d(x, weight, bias, padding=kernel // 2)
        return F.relu_(x if self.folded else F.batch_norm(x, *rest, training=False, eps=golden.EPSILON))

    def weights(self, name, out, channels, kernel):
        weight = golden.tensor(f"{name}.conv.weight", (out, channels, kernel, kernel), 0.0, (6.0 / (channels * kernel * kernel)) ** 0.5)
        mean = golden.tensor(f"{name}.bn.running_mean", (out,), 0.0, 0.1)
        variance = golden.tensor(f"{name}.bn.running_var", (out,), 1.0, 0.5)
        gain = golden.tensor(f"{name}.bn.weight", (out,), 1.0, 0.2)
        bias = golden.tensor(f"{name}.bn.bias", (out,), 0.0, 0.1)
        last = {"memory_format": torch.channels_last}
        if not self.folded:
            return weight.contiguous(**last), None, (mean, variance, gain, bias)
        scale = gain.double() / (variance.double() + golden.EPSILON).sqrt()
        weight = (weight.double() * scale[:, None, None, None]).float().contiguous(**last)
        return weight, (bias.double() - mean.double() * scale).float(), ()


def timed(network, stack, slices):
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(slices):
        network(stack)
    return time.perf_counter() - wall, time.process_time() - processor


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--plugin-dir", help="folder of the libtorch backend, if not the bench's own")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stack = golden.stack(options.side, 1).contiguous(memory_format=torch.channels_last)
    peers = {"eager": Eager(options.width, False), "eager, folded": Eager(options.width, True)}
    found = {name: [] for name in ["segment", *peers]}
    command = [options.bench, "--device", "cpu", "--repeats", "1"]
    for name in ("slices", "threads", "width", "side"):
        command += [f"--{name}", str(getattr(options, name))]
    if options.plugin_dir:
        command += ["--plugin-dir", options.plugin_dir]
    # Each side finds its own libtorch.
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    with torch.inference_mode():
        for network in peers.values():
            network(stack)
        for _ in range(options.rounds):
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout)
            found["segment"].append((figures["median_s"], figures["cpu_s"]))
            for name, network in peers.items():
                found[name].append(timed(network, stack, options.slices))
    print(f"torch {torch.__version__}, {options.threads} threads, width {options.width}, {options.slices} slices; "
          f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name, times in found.items():
        wall, processor = (statistics.median(column) / options.slices for column in zip(*times))
        print(f"{name:14} {wall:7.3f} s a slice, {processor:7.3f} CPU-s")


if __name__ == "__main__":
    main()
