import pytest

import nas_hw
from nas_cli.config import resolve
from nas_cli.limits import build_limits
from nas_cli.recipes import RECIPES
from nas_cli.scales import ADAPTED, DEFAULT_SPACES, OF_SPACE, SCALES
from nas_cli.space_names import before_additions, fix_first
from nas_cli.spaces import load_space
from nas_spaces import published
from nas_spaces.vary import uniform_bits, usual_channels


def test_every_scale_has_a_space():
    assert set(DEFAULT_SPACES) == set(SCALES)
    assert set(DEFAULT_SPACES.values()) <= set(published.SPACES)


def test_a_method_may_differ_from_its_scale():
    assert set(ADAPTED) <= {(method, scale) for method in RECIPES for scale in SCALES}
    assert all("space" in ADAPTED[key] for key in OF_SPACE)
    spos, fairnas = (resolve([{"method": method}]) for method in ("spos", "fairnas"))
    assert (spos.train.batch_size, spos.train.epochs) == (64, 60)
    assert (fairnas.train.batch_size, fairnas.train.epochs) == (64, 24)
    assert fairnas.search.recalibration_images == 0
    for space in ("digits-mobile+channels=0.5,1", "digits-resnet+bits"):
        given = {"method": "fairnas", "space": space}
        assert resolve([given]).search.recalibration_images == 512
        none = {"search": {"recalibration_images": 0}}
        assert resolve([given, none]).search.recalibration_images == 0
    assert resolve([{"method": "fairnas", "data": "imagefolder:x"}]).space == "fairnas-19"


@pytest.mark.parametrize("data", ["digits", "cifar10", "imagefolder:x"])
def test_references_are_about_as_large_as_the_limit(data):
    """What 3 bits everywhere cost is allowed, and no more than a little."""
    for method in ("spos-bits", "spos-joint"):
        config = resolve([{"method": method, "data": data}])
        space = load_space(config.space)
        [limit] = build_limits(space, config.limits).limits
        network = uniform_bits(space, [0] * space.num_choices, 3)
        assert 1 <= limit.upper / nas_hw.bitops(network)([[]])[0] < 1.05
    channels = resolve([{"method": "spos-channels", "data": data}])
    blocks = load_space(before_additions(channels.space))
    space = load_space(fix_first(channels.space, [1] * blocks.num_choices))
    [limit] = build_limits(space, channels.limits).limits
    usual = usual_channels(space, [0] * space.num_choices)
    assert limit.upper == pytest.approx(nas_hw.macs(space)([usual])[0], rel=0.05)
