import numpy as np
import pytest

import nas_hw
from nas_hw.conventions import find_convention
from nas_spaces import InputError, published
from nas_spaces.layers import Classifier, Conv, MBConv, SqueezeExcite


def of(layer, shape, convention):
    graph, counting = layer.graph(shape), find_convention(convention)
    return sum(map(counting.macs, graph)), sum(map(counting.params, graph))


# 8 channels of 10 x 10: an expansion, a depthwise convolution, two biased convolutions between
# which are 6 channels, a projection; 24 hidden channels.
SE_BLOCK = MBConv(8, 3, expand=3, se=SqueezeExcite(0.25))
CONVOLUTIONS = (8 * 24 + 24 * 9 + 24 * 8) * 100
WEIGHTS = 8 * 24 + 24 * 9 + 24 * 8 + 2 * 24 * 6


@pytest.mark.parametrize(
    ("convention", "block", "classifier"),
    [
        ("standard", (CONVOLUTIONS + 2 * 24 * 6, WEIGHTS + 30 + 2 * 56), (40, 45)),
        ("conv-only", (CONVOLUTIONS, WEIGHTS + 30 + 2 * 56), (0, 45)),
        ("mobile-vision", (CONVOLUTIONS + 2 * 24 * 6 + 2400, WEIGHTS), (840, 40)),
        ("nas-bench-201", (CONVOLUTIONS + 2 * 24 * 6, WEIGHTS + 30 + 2 * 56), (45, 45)),
    ],
)
def test_layers_counted_by_hand(convention, block, classifier):
    assert of(SE_BLOCK, (8, 10, 10), convention) == block
    assert of(Classifier(5), (8, 10, 10), convention) == classifier
    assert of(Conv(4, 3), (8, 10, 10), convention)[0] == 8 * 4 * 9 * 100


def test_a_classifier_without_bias():
    assert of(Classifier(5, bias=False), (8, 10, 10), "nas-bench-201") == (40, 40)


def single(table, arch):
    (value,) = table([arch])
    return int(value)


@pytest.mark.parametrize(
    ("name", "convention", "macs", "params"),
    [
        ("ponas-a", "conv-only", 326_297_664, 5_104_022),
        ("fbnet-a", "mobile-vision", 244_526_360, 4_270_288),
        ("fbnetv2-f1", "mobile-vision", 56_410_560, 5_999_408),
    ],
)
def test_published_tables(name, convention, macs, params):
    space, arch = published.architecture(name)
    assert single(nas_hw.macs(space, convention), arch) == macs
    assert single(nas_hw.params(space, convention), arch) == params


@pytest.mark.parametrize(("classes", "millions"), [(10, 7.78305), (100, 7.7889)])
def test_the_closed_form_of_nas_bench_201(classes, millions):
    space = published.load("nas-bench-201", classes=classes)
    macs = nas_hw.macs(space, "nas-bench-201")
    archs = space.sample(300, rng=np.random.default_rng(0))
    small, large = (
        (archs == space.choices[0].options.index(f"nor_conv_{size}x{size}")).sum(axis=1)
        for size in (1, 3)
    )
    # In integers: what is printed in millions is exact.
    base = round(millions * 1e6)
    assert (macs(archs) == base + 3_932_160 * small + 35_389_440 * large).all()


def test_another_convention_is_named():
    space = published.load("digits-mobile")
    assert [nas_hw.macs(space, name).name for name in nas_hw.CONVENTIONS] == [
        "macs",
        "macs-conv-only",
        "macs-mobile-vision",
        "macs-nas-bench-201",
    ]
    assert nas_hw.params(space, "mobile-vision").name == "params-mobile-vision"
    assert nas_hw.params(space, "standard").name == "params"


def test_an_unknown_convention():
    space = published.load("digits-mobile")
    for count in (nas_hw.macs, nas_hw.params):
        with pytest.raises(InputError) as error:
            count(space, "mobilevision")
        assert str(error.value) == (
            "convention 'mobilevision' is unknown: did you mean 'mobile-vision'? "
            "valid: conv-only, mobile-vision, nas-bench-201, standard"
        )


def test_conventions_say_what_they_count():
    for name, convention in nas_hw.CONVENTIONS.items():
        assert convention.name == name
        assert convention.macs_text and convention.params_text and convention.used_by
