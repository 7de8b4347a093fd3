"""Published mobile networks: what their sources count."""

import numpy as np
import pytest

import nas_hw
from nas_hw.count import macs_of
from nas_spaces import published
from nas_spaces.primitives import Convolution

EXACT = {
    # Official modules and logs, torchvision, timm.
    "fairnas-a": (388_122_848, 4_651_352),
    "proxyless-mobile": (320_427_584, 4_080_512),
    "proxyless-gpu": (465_260_160, 7_119_848),
    "ponas-a": (328_907_360, 5_104_022),
    "mnasnet-a1": (311_579_072, 3_887_038),
    "mnasnet-b1": (314_415_872, 4_383_312),
    "mobilenet-v2": (300_774_272, 3_504_872),
    "mobilenet-v3-large": (216_589_760, 5_483_032),
}


@pytest.mark.parametrize(("name", "expected"), EXACT.items())
def test_released_networks_exactly(name, expected):
    space, arch = published.architecture(name)
    assert (nas_hw.macs(space)([arch])[0], nas_hw.params(space)([arch])[0]) == expected


# Those that are known as printed only: millions, rounded.
@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("fairnas-b", "345", "4.5"),
        ("fairnas-c", "321", "4.4"),
        ("proxyless-cpu", "439.2", "4.36"),
    ],
)
def test_released_networks_as_printed(name, macs, params):
    space, arch = published.architecture(name)
    for table, printed in ((nas_hw.macs(space), macs), (nas_hw.params(space), params)):
        digits = len(printed.partition(".")[2])
        assert f"{table([arch])[0] / 1e6:.{digits}f}" == printed


# One candidate in all blocks; stem 32, first block 16, last convolution 1280.
@pytest.mark.parametrize(
    ("space", "option", "macs", "params"),
    [
        ("fairnas-19", "k3e3", 247_129_856, 3_189_080),
        ("mobilenet-21", "k3e3", 257_422_208, 3_191_928),
        ("fairnas-19", "k3e6", 452_036_096, 4_679_144),
        ("mobilenet-21", "k3e6", 472_620_800, 4_684_776),
        ("fairnas-19", "k5e3", 268_203_776, 3_271_256),
        ("mobilenet-21", "k5e3", 284_216_192, 3_275_640),
        ("mobilenet-21", "k5e6", 526_208_768, 4_852_200),
        ("fairnas-19", "k7e3", 299_814_656, 3_394_520),
        ("mobilenet-21", "k7e6", 606_590_720, 5_103_336),
    ],
)
def test_homogeneous_networks(space, option, macs, params):
    loaded = published.load(space)
    arch = [choice.options.index(option) for choice in loaded.choices]
    assert nas_hw.macs(loaded)([arch])[0] == macs
    assert nas_hw.params(loaded)([arch])[0] == params


# PONAS counts convolutions only, without those of squeeze-and-excitation and the classifier.
@pytest.mark.parametrize(
    ("name", "printed"), [("ponas-a", 326), ("ponas-b", 349), ("ponas-c", 376)]
)
def test_ponas_in_its_own_convention(name, printed):
    space, arch = published.architecture(name)
    nodes = [node for placed in space.layers(arch) for node in placed.graph]
    squeezing = sum(macs_of(node) for node in nodes if node.name.startswith("se_"))
    counted = sum(
        macs_of(node)
        for node in nodes
        if isinstance(node, Convolution) and not node.name.startswith("se_")
    )
    assert round(counted / 1e6) == printed
    assert nas_hw.macs(space)([arch])[0] == counted + squeezing + 1280 * 1000
    if name == "ponas-a":
        assert (counted, squeezing) == (326_297_664, 1_329_696)


def test_squeeze_and_excitation_and_widths_of_betanas_cost_what_they_add():
    arch = np.zeros((1, 21), dtype=np.int64)
    plain, squeezed = (published.load("betanas", se=se) for se in (False, True))
    swish = published.load("betanas", activation="swish")
    assert nas_hw.macs(swish)(arch) == nas_hw.macs(plain)(arch) == 257_422_208
    added = nas_hw.params(squeezed)(arch)[0] - nas_hw.params(plain)(arch)[0]
    # Two biased 1x1 convolutions in the first block (32 hidden channels) and in 21 others.
    hidden = [32, 48]
    for width, repeats in ((24, 4), (40, 4), (80, 4), (96, 4), (192, 4)):
        hidden += [3 * width] * repeats
    middle = [int(h / 16 + 0.5) for h in hidden]
    assert added == sum(2 * h * m + h + m for h, m in zip(hidden, middle, strict=True))
    macs = nas_hw.macs(squeezed)(arch)[0] - nas_hw.macs(plain)(arch)[0]
    assert macs == sum(2 * h * m for h, m in zip(hidden, middle, strict=True))


def test_canonical_rows_of_mnasnet_cost_the_same():
    space = published.load("mnasnet")
    archs = space.sample(500, rng=np.random.default_rng(0))
    canonical = space.canonical(archs)
    assert (canonical != archs).any()
    for table in (nas_hw.macs(space), nas_hw.params(space)):
        assert (table(canonical) == table(archs)).all()
