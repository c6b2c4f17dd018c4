"""Compares networks that PyTorch exported and `importOnnx` read: features with ONNX Runtime, input gradients with torch.

Needs torch, onnx and onnxruntime (written with torch 2.13, onnx 1.23 and onnxruntime 1.30), and a build
(`npm run build`). Weights are random. With --timm the networks named are compared too (needs timm).

    python interop/onnx_import.py [--dist dist] [--timm convnext_atto,mobilenetv3_small_050] [--size 64] [--seed 0]

Prints relative L2 distances of every output and of the gradient of a random weighing of the outputs, and the seconds
that our side took. Exit status 0: all are at most 1e-4. Where an activation lies within rounding of a kink (ReLU, the
largest of a window), one element's gradient jumps: a deep network may show 1e-3 once, as torch does for pixels moved by
1e-7; other random numbers (--seed) tell.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
import torch
from torch import nn

TOLERANCE = 1e-4
DRIVER = """
import { readFileSync, writeFileSync } from "node:fs";
const [dist, folder] = process.argv.slice(1);
const load = (path) => import(`${dist}/${path}`);
const g = await load("graph/index.js");
const { readOnnx, importOnnx, onnxWeights } = await load("onnx/index.js");
const { createOrtBackend } = await load("node/ort-backend.js");
const { shape, symbolic, outputs, shapes } = JSON.parse(readFileSync(`${folder}/case.json`, "utf8"));
const floats = (name) => { const b = readFileSync(`${folder}/${name}`); return new Float32Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length)); };
const start = performance.now();
const model = readOnnx(readFileSync(`${folder}/model.onnx`));
const graph = new g.Graph();
const x = graph.input("x", "f32", symbolic ? ["B", ...shape.slice(1)] : shape);
const made = importOnnx(model, x, { prefix: "features." }).outputs;
const losses = outputs.map((name, i) => {
  graph.output(`y${i}`, made[name]);
  const weights = graph.input(`w${i}`, "f32", made[name].shape);
  return g.reshape(g.reduceSum(g.mul(made[name], weights), made[name].shape.map((_, axis) => axis)), []);
});
graph.output("dx", g.gradients(losses.reduce((a, b) => g.add(a, b)), [x])[0]);
const simple = g.simplifyGraph(graph);
const traced = performance.now();
const weights = onnxWeights(model, { prefix: "features." });
const backend = createOrtBackend();
const session = await backend.compile({ name: "interop", graph: simple, weight: async (name) => ({ kind: "array", value: weights(name) }) });
const compiled = performance.now();
const feeds = { x: { dtype: "f32", shape, data: floats("x.bin") } };
outputs.forEach((name, i) => { feeds[`w${i}`] = { dtype: "f32", shape: shapes[i], data: floats(`w${i}.bin`) }; });
const fetched = await session.run(feeds);
const ran = performance.now();
await backend.dispose();
for (const [name, { data }] of Object.entries(fetched)) writeFileSync(`${folder}/${name}.bin`, data);
const seconds = [traced - start, compiled - traced, ran - compiled].map((ms) => ms / 1000);
console.log(JSON.stringify({ seconds, nodes: simple.nodes.length }));
"""


def vgg16(_):
    layers, channels = [], 3
    for width in [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]:
        if width == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )
        straight = stride == 1 and channels == width
        self.skip = nn.Identity() if straight else nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        return torch.relu(self.main(x) + self.skip(x))


def resnet18(_):
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks, channels = [], 64
    for width, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        blocks += [Block(channels, width, stride), Block(width, width, 1)]
        channels = width
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))


class Vit(nn.Module):
    def __init__(self, x_size, width=96, patch=8, depth=3):
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (x_size // patch) ** 2 + 1, width))
        layer = lambda: nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.ModuleList([layer() for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def settle(network):
    """Batch norm statistics as a trained network has them: not zeros and ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


def distance(a, b):
    return float(np.linalg.norm((a - b).ravel()) / max(np.linalg.norm(b.ravel()), 1e-30))


def compare(network, size, dynamic, dist, folder):
    x = torch.randn(2, 3, size, size, requires_grad=True)
    ys = network(x)
    ys = list(ys) if isinstance(ys, (list, tuple)) else [ys]
    ws = [torch.randn_like(y) for y in ys]
    dx = torch.autograd.grad(sum((y * w).sum() for y, w in zip(ys, ws)), x)[0].numpy()
    path = folder / "model.onnx"
    axes = {"dynamic_axes": {"x": {0: "N"}}} if dynamic else {}
    torch.onnx.export(network, x.detach(), str(path), dynamo=False, opset_version=17, input_names=["x"], **axes)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    expected = session.run(names, {"x": x.detach().numpy()})
    (folder / "case.json").write_text(json.dumps({"shape": list(x.shape), "symbolic": dynamic, "outputs": names, "shapes": [y.shape for y in expected]}))
    x.detach().numpy().tofile(folder / "x.bin")
    for i, w in enumerate(ws):
        w.numpy().tofile(folder / f"w{i}.bin")
    command = ["node", "--input-type=module", "-e", DRIVER, "--", str(dist), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        return None, run.stderr.strip().splitlines()
    read = lambda name, like: np.fromfile(folder / name, np.float32).reshape(like.shape)
    features = [distance(read(f"y{i}.bin", y), y) for i, y in enumerate(expected)]
    return {"features": max(features), "gradient": distance(read("dx.bin", dx), dx), **json.loads(run.stdout)}, None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dist", default="dist")
    parser.add_argument("--timm", default="", help="networks with commas between; NAME:maps for their feature maps, NAME@SIZE")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dist = pathlib.Path(options.dist).resolve()
    makers = [("VGG16 features", vgg16, options.size), ("ResNet-18", resnet18, options.size), ("ViT", Vit, options.size)]
    for item in filter(None, options.timm.split(",")):
        import timm

        name, _, size = item.partition("@")
        name, _, maps = name.partition(":")
        extra = {"features_only": True} if maps else {}
        makers.append((item, lambda _, name=name, extra=extra: timm.create_model(name, **extra), int(size or options.size)))
    worst = 0.0
    for name, make, size in makers:
        torch.manual_seed(options.seed)
        network = settle(make(size))
        for dynamic in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                found, error = compare(network, size, dynamic, dist, pathlib.Path(folder))
            title = f"{name} ({'any batch' if dynamic else 'batch fixed'})"
            if found is None:
                worst = float("inf")
                print(f"{title}: failed", *(line for line in error if "rror" in line or "toklip" in line), sep="\n    ", flush=True)
                continue
            worst = max(worst, found["features"], found["gradient"])
            trace, compile_, run = found["seconds"]
            times = f"read and traced in {trace:.2f} s, compiled in {compile_:.2f} s, run in {run:.2f} s"
            print(f"{title}: features {found['features']:.1e}, gradient {found['gradient']:.1e}; {found['nodes']} nodes, {times}", flush=True)
    sys.exit(0 if worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
