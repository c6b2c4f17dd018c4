"""Makes the goldens of training augmentation from torchvision on Pillow pictures: `test/goldens/augment/augment.json`.

Needs torch, torchvision, Pillow and numpy (written with torchvision 0.28 and Pillow 12.3). Random numbers are scripted:
torch's generators are replaced by lists of uniform numbers that the golden keeps, in float64, so that our own code can
be given the same ones. Pixels are kept as SHA-256 of their bytes; pictures are the noise of `noise()`, which the tests
make too. `random_square` is our wording of LlamaGen's `random_crop_arr`.

    python interop/augmentation.py [--out test/goldens/augment/augment.json]
"""
import argparse
import hashlib
import json
import math
import pathlib
import random

import numpy as np
import PIL
import torch
import torchvision
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import ColorJitter, InterpolationMode, RandomResizedCrop

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def noise(mode, width, height, seed):
    """Bytes that depend on position and seed; a third of them pushed to the extremes."""
    count = width * height * CHANNELS[mode]
    x = (np.arange(count, dtype=np.uint64) + seed) * 2654435761 % 2**32
    x ^= x >> 15
    x = x * 2246822507 % 2**32
    x ^= x >> 13
    level = (x >> 8) % 384
    pixels = np.where(level < 256, level, np.where(level < 320, 0, 255)).astype(np.uint8)
    shape = (height, width) if mode == "L" else (height, width, CHANNELS[mode])
    return Image.fromarray(pixels.reshape(shape), mode)


def sha256(pixels):
    return hashlib.sha256(np.ascontiguousarray(np.asarray(pixels)).tobytes()).hexdigest()


def every_colour(mode):
    byte = np.arange(256, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(byte, byte, byte, indexing="ij"), -1).reshape(4096, 4096, 3), mode)


class Script:
    """Gives out uniform numbers of [0, 1) and remembers them."""

    def __init__(self, seed):
        self.random, self.given = random.Random(seed), []

    def uniform(self):
        self.given.append(self.random.random())
        return self.given[-1]

    def integer(self, bound):
        return int(math.floor(self.uniform() * bound))


def scripted(script, act):
    """Runs `act` with torch's random numbers taken from `script`, in double precision."""
    held = torch.Tensor.uniform_, torch.randint
    torch.Tensor.uniform_ = lambda self, low, high: self.fill_(low + (high - low) * script.uniform())
    torch.randint = lambda low, high, size: torch.tensor([low + script.integer(high - low)])
    torch.set_default_dtype(torch.float64)
    try:
        return act()
    finally:
        torch.Tensor.uniform_, torch.randint = held
        torch.set_default_dtype(torch.float32)


def colour_tables():
    rgb, hsv = every_colour("RGB"), every_colour("HSV")
    return dict(hsvOfRgb=sha256(rgb.convert("HSV")), rgbOfHsv=sha256(hsv.convert("RGB")), greyOfRgb=sha256(rgb.convert("L")))


ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def adjustments():
    rng, cases = random.Random(1), []
    for name, adjust in ADJUST.items():
        factors = [0.0, 0.5, -0.5, 0.1, -0.003, 0.004] if name == "hue" else [0.0, 1.0, 0.5, 0.2, 1.8, 3.5]
        factors += [rng.uniform(-0.5, 0.5) if name == "hue" else rng.uniform(0, 2) for _ in range(8)]
        for i, factor in enumerate(factors):
            cases.append(dict(name=name, factor=factor, seed=i, sha256=sha256(adjust(noise("RGB", 61, 47, i), factor))))
    return cases


def jitters():
    cases = []
    for seed in range(8):
        torch.manual_seed(seed)
        jitter = ColorJitter(0.4, 0.4, 0.4, 0.1)
        state = torch.get_rng_state()
        order, *factors = ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        torch.set_rng_state(state)
        pixels = sha256(jitter(noise("RGB", 61, 47, seed)))
        named = dict(zip(ADJUST, factors))
        steps = [dict(name=name, factor=named[name]) for name in (list(ADJUST)[i] for i in order.tolist())]
        cases.append(dict(seed=seed, steps=steps, sha256=pixels))
    return cases


def boxes():
    rng, cases = random.Random(2), []
    settings = [((0.9, 1.0), (3 / 4, 4 / 3)), ((0.08, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.5), (0.2, 5.0)), ((1.0, 1.0), (1.0, 1.0))]
    sizes = [(1, 1), (1, 500), (500, 1), (640, 427), (427, 640), (64, 64), (3, 2), (1000, 90)]
    sizes += [(rng.randint(1, 900), rng.randint(1, 900)) for _ in range(12)]
    for i, (width, height) in enumerate(sizes):
        for j, (scale, ratio) in enumerate(settings):
            script = Script(100 * i + j)
            picture = Image.new("L", (width, height))
            top, left, h, w = scripted(script, lambda: RandomResizedCrop.get_params(picture, scale, ratio))
            case = dict(width=width, height=height, scale=scale, ratio=ratio, draws=script.given)
            cases.append(dict(case, box=dict(left=left, top=top, width=w, height=h)))
    return cases


def resized_crops():
    cases = []
    for i, (mode, width, height, size) in enumerate(
        [("RGB", 90, 70, 32), ("RGB", 33, 70, 32), ("RGB", 20, 15, 32), ("L", 90, 70, 32), ("RGBA", 90, 70, 32)]
    ):
        script, picture = Script(i), noise(mode, width, height, i)
        crop = RandomResizedCrop(size, scale=(0.9, 1.0), interpolation=InterpolationMode.BICUBIC)
        pixels = sha256(scripted(script, lambda: crop(picture)).convert("RGB"))
        cases.append(dict(mode=mode, width=width, height=height, size=size, seed=i, draws=script.given, sha256=pixels))
    return cases


def random_square(picture, size, script):
    smallest, largest = math.ceil(size / 1.0), math.ceil(size / 0.8)
    short = smallest + script.integer(largest + 1 - smallest)
    while min(*picture.size) >= 2 * short:
        picture = picture.resize(tuple(edge // 2 for edge in picture.size), resample=Image.BOX)
    scale = short / min(*picture.size)
    picture = picture.resize(tuple(round(edge * scale) for edge in picture.size), resample=Image.BICUBIC)
    pixels = np.array(picture)
    top = script.integer(pixels.shape[0] - size + 1)
    left = script.integer(pixels.shape[1] - size + 1)
    return pixels[top : top + size, left : left + size]


def random_squares():
    cases, sizes = [], [(100, 80), (331, 257), (259, 263), (16, 16), (9, 40), (35, 33), (640, 321), (131, 67), (70, 70)]
    for i, (width, height) in enumerate(sizes):
        script = Script(50 + i)
        pixels = sha256(random_square(noise("RGB", width, height, i), 16, script))
        cases.append(dict(width=width, height=height, size=16, seed=i, draws=script.given, sha256=pixels))
    return cases


def halvings():
    """Pillow's BOX filter at even and odd edges."""
    cases = []
    for i, (width, height) in enumerate([(8, 6), (9, 7), (5, 5), (33, 18), (61, 47), (3, 2), (101, 259)]):
        to = (width // 2, height // 2)
        half = noise("RGB", width, height, i).resize(to, Image.BOX)
        cases.append(dict(width=width, height=height, to=to, seed=i, sha256=sha256(half)))
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="test/goldens/augment/augment.json")
    goldens = dict(
        versions=dict(torchvision=torchvision.__version__, pillow=PIL.__version__),
        colours=colour_tables(),
        adjustments=adjustments(),
        jitters=jitters(),
        boxes=boxes(),
        resizedCrops=resized_crops(),
        randomSquares=random_squares(),
        halvings=halvings(),
    )
    pathlib.Path(parser.parse_args().out).write_text(json.dumps(goldens, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
