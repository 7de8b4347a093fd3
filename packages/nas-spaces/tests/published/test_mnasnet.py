import itertools

import numpy as np
import pytest

from nas_spaces import published
from nas_spaces.layers import Identity, MBConv
from nas_spaces.published.mnasnet import TOKENS

ORDER = ("kernel", "expand", "se", "width", "repeats", "skip")


@pytest.fixture(scope="module")
def space():
    return published.load("mnasnet")


def row(space, stages):
    """The row that says ``stages``, a dict of tokens each; the published base where left out."""
    base = {"kernel": 3, "expand": 6, "se": 0, "width": 1.0, "repeats": 0, "skip": "identity"}
    return [
        TOKENS[token].index({**base, **stages.get(stage, {})}[token])
        for stage in range(1, 7)
        for token in ORDER
    ]


def stage_of(space, arch, stage):
    return [p for p in space.layers(arch) if p.block.startswith(f"stage{stage}_")]


def test_the_row_is_the_token_sequence_stage_by_stage(space):
    names = [f"stage{stage}_{token}" for stage in range(1, 7) for token in ORDER]
    assert [choice.name for choice in space.choices] == names
    assert space.num_options == (2, 2, 2, 3, 3, 2) * 6
    assert space.size == 144**6


def test_the_base_network(space):
    built = [
        (p.layer.out, p.layer.stride, p.layer.kernel, p.layer.expand)
        for p in space.layers(row(space, {}))[2:-2]
        if p.layer != Identity()
    ]
    expected = []
    for out, repeats, stride in (
        *((24, 3, 2), (40, 3, 2), (80, 3, 2)),
        *((96, 2, 1), (192, 4, 2), (320, 1, 1)),
    ):
        expected += [(out, stride, 3, 6)] + [(out, 1, 3, 6)] * (repeats - 1)
    assert built == expected


@pytest.mark.parametrize(
    ("token", "value", "seen"),
    [
        ("kernel", 5, lambda layer: layer.kernel == 5),
        ("expand", 3, lambda layer: layer.expand == 3),
        ("se", 0.25, lambda layer: (layer.se.ratio, layer.se.of) == (0.25, "input")),
        ("width", 1.25, lambda layer: layer.out == 48),
    ],
)
def test_all_blocks_of_a_stage_share_its_tokens(space, token, value, seen):
    placed = stage_of(space, row(space, {2: {token: value}}), 2)
    assert [seen(p.layer) for p in placed if p.layer != Identity()] == [True] * 3
    other = stage_of(space, row(space, {2: {token: value}}), 3)
    assert [p.layer for p in other] == [p.layer for p in stage_of(space, row(space, {}), 3)]


def test_widths_are_rounded_to_the_nearest_multiple_of_8(space):
    widths = []
    for factor in (0.75, 1.0, 1.25):
        arch = row(space, {stage: {"width": factor} for stage in range(1, 7)})
        widths.append([stage_of(space, arch, stage)[0].out_shape[0] for stage in range(1, 7)])
    assert widths == [
        [16, 32, 64, 72, 144, 240],
        [24, 40, 80, 96, 192, 320],
        [32, 48, 104, 120, 240, 400],
    ]
    # 30, 60 and 100 lie between two multiples: halves go up.
    assert published.load("mnasnet", width=1.3).layers([1] * 36)[-2].out_shape[0] == 1664


def test_repeats_leave_identities_that_cost_nothing_but_one_block_stays(space):
    for stage, base in enumerate((3, 3, 3, 2, 4, 1), start=1):
        for repeats in (-1, 0, 1):
            placed = stage_of(space, row(space, {stage: {"repeats": repeats}}), stage)
            kept = [p for p in placed if isinstance(p.layer, MBConv)]
            assert len(placed) == base + 1
            assert len(kept) == max(1, base + repeats)
            assert all(p.graph == () for p in placed if p not in kept)


def test_skip_adds_the_input_behind_the_first_block(space):
    for skip in ("none", "identity"):
        placed = stage_of(space, row(space, {5: {"skip": skip}}), 5)[:4]
        added = ["residual" in [node.name for node in p.graph] for p in placed]
        assert added == [False] + [skip == "identity"] * 3


@pytest.mark.parametrize(
    ("stage", "networks"),
    # Of 2^3 * 3 * 3 * 2 = 144 rows of a stage: all differ where it keeps two blocks; where one
    # block may be left there is no skip (24 * 5), and a base of 1 clamps too (24 * 3).
    [(1, 144), (4, 120), (6, 72)],
)
def test_rows_of_a_stage_and_the_networks_that_they_build(space, stage, networks):
    tokens = list(itertools.product(*(range(len(TOKENS[token])) for token in ORDER)))
    archs = space.sample(1, rng=np.random.default_rng(stage)).repeat(len(tokens), axis=0)
    archs[:, (stage - 1) * 6 : stage * 6] = tokens
    canonical = space.canonical(archs)
    built = [tuple(placed.graph for placed in space.layers(arch)) for arch in archs]
    assert len(np.unique(canonical, axis=0)) == len(set(built)) == networks
    # One canonical row a network, and it is one of those that build it.
    assert len({(graphs, tuple(c)) for graphs, c in zip(built, canonical, strict=True)}) == networks
    again = [tuple(placed.graph for placed in space.layers(arch)) for arch in canonical]
    assert again == built


def test_canonical_rows_clamp_repeats_and_drop_idle_skips(space):
    clamped = row(space, {6: {"repeats": 0, "skip": "identity"}})
    expected = row(space, {6: {"repeats": -1, "skip": "none"}})
    # The other stages have two blocks and more, where the skip counts.
    assert space.canonical([clamped])[0].tolist() == expected


def test_released_networks_are_spelled_by_their_tables():
    space, arch = published.architecture("mnasnet-a1")
    placed = [p for p in space.layers(arch) if isinstance(p.layer, MBConv)]
    squeezed = {
        p.in_shape[0]: next(n.out_channels for n in p.graph if n.name == "se_reduce")
        for p in placed
        if p.layer.se
    }
    assert squeezed == {24: 6, 40: 10, 80: 20, 112: 28, 160: 40}
    assert len(placed) == 16
    space, arch = published.architecture("mnasnet-b1")
    assert sum(isinstance(p.layer, MBConv) for p in space.layers(arch)) == 17
