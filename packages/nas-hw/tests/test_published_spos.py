import pytest

import nas_hw
from nas_spaces import published

PLAIN = 4  # index of scale 1.0


def cost(space, arch):
    return nas_hw.macs(space)([arch]).tolist()[0], nas_hw.params(space)([arch]).tolist()[0]


# Verified with the official module.
@pytest.mark.parametrize(
    ("candidate", "macs", "params"),
    [
        (0, 295_842_496, 3_154_880),
        (1, 313_654_976, 3_211_968),
        (2, 340_373_696, 3_297_600),
        (3, 358_825_920, 3_870_816),
    ],
)
def test_uniform_networks_in_all_three_spaces(candidate, macs, params):
    blocks = published.load("spos-shufflenet")
    assert cost(blocks, [candidate] * 20) == (macs, params)
    joint = published.load("spos-shufflenet-joint")
    assert cost(joint, [candidate, PLAIN] * 20) == (macs, params)
    channels = published.load("spos-shufflenet-channels", blocks=[candidate] * 20)
    assert cost(channels, [PLAIN] * 20) == (macs, params)


def test_the_channels_of_the_paper_have_the_published_size():
    space, arch = published.architecture("spos-paper-channels")
    macs, params = cost(space, arch)
    assert round(macs / 1e6) == 328
    assert round(params / 1e6, 1) == 3.4
    # The joint space builds the same network.
    _, blocks = published.architecture("spos-paper")
    row = [option for pair in zip(blocks, arch, strict=True) for option in pair]
    assert cost(published.load("spos-shufflenet-joint"), row) == (macs, params)


# The scaled main branch alone, by hand: 1x1, depthwise, 1x1 and their norms.
@pytest.mark.parametrize("scale", range(8))
def test_what_a_scale_costs(scale):
    space = published.load("spos-shufflenet-channels", blocks=[1] * 20)
    table = nas_hw.macs(space)
    arch = [PLAIN] * 20
    arch[1] = scale
    middle = [6, 12, 19, 25, 32, 38, 44, 51][scale]
    each = 32 + 25 + 32
    assert table([arch])[0] - table([[PLAIN] * 20])[0] == (middle - 32) * each * 56 * 56
    params = nas_hw.params(space)
    assert params([arch])[0] - params([[PLAIN] * 20])[0] == (middle - 32) * (each + 4)


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("shufflenet-v2-1.0", 145_814_296, 2_279_760),
        ("shufflenet-v2-1.5", 298_970_656, 3_507_720),
        ("shufflenet-v2-2.0", 590_783_000, 7_403_600),
    ],
)
def test_known_answers_of_shufflenet_v2(name, macs, params):
    space, arch = published.architecture(name)
    assert cost(space, arch) == (macs, params)
