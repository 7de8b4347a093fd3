import itertools
import json

import pytest

from nas_spaces import InputError, published
from nas_spaces.layers import Identity
from nas_spaces.testing import check_space

SIZES = {
    "mobilenet-21": (21, 6**6 * 7**15),
    "mobilenet-21-cpu": (21, 6**6 * 7**15),
    "mobilenet-21-gpu": (21, 6**6 * 7**15),
    "mobilenet-21-mobile": (21, 6**6 * 7**15),
    "fairnas-19": (19, 6**19),
    "fairnas-ranking": (16, 6**16),
    "ponas-19": (19, 12**19),
    "betanas": (21, 221502229807900608),
    "mnasnet": (36, 144**6),
    "spos-shufflenet": (20, 4**20),
    "spos-shufflenet-channels": (20, 8**20),
    "spos-shufflenet-joint": (40, 32**20),
    "resnet18-quant": (16, 18**8),
    "resnet34-quant": (32, 18**16),
    "resnet18-blocks": (8, 2**3 * 3**5),
    "resnet20-blocks": (9, 2**2 * 3**7),
    "digits-resnet": (6, 2**2 * 3**4),
    "fbnetv2-f": (50, 2695612494689630945280000),
    "fbnetv2-fine": (85, 5840347480651086372465910732805898240000000),
    "fbnetv2-f++": (50, 2**10 * 2695612494689630945280000),
    "nas-bench-201": (6, 5**6),
    "nas-bench-201-reduce-1": (6, 4**6),
    "nas-bench-201-reduce-2": (6, 4**6),
    "nas-bench-201-reduce-3": (6, 3**6),
    "nas-bench-macro": (8, 3**8),
    "digits-mobile": (8, 4**3 * 5**5),
    "digits-fp-nas": (25, 8 * 48**4),
}


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_spaces_conform(name):
    check_space(published.load(name))


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes(name, size):
    space = published.load(name)
    assert (space.num_choices, space.size) == size


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_options_change_images_and_classes(name):
    space = published.load(name, classes=7, resolution=64, in_channels=2)
    assert space.input_shape == (2, 64, 64)
    assert space.num_classes == 7
    assert space.size == published.load(name).size


@pytest.mark.parametrize("name", sorted(published.ARCHITECTURES))
def test_architectures_are_rows_of_their_space(name):
    space, arch = published.architecture(name)
    assert (space.check([arch])[0] == arch).all()
    assert space == published.load(published.ARCHITECTURES[name][0])


def test_spos_has_the_widths_and_sizes_of_the_paper():
    space, arch = published.architecture("spos-readme")
    assert space.format(arch) == "2,1,0,1,2,0,2,0,2,0,2,3,0,0,0,0,3,2,3,3"
    shapes = [placed.out_shape for placed in space.layers(arch)]
    expected = [(16, 112)]
    for width, repeats, size in ((64, 4, 56), (160, 4, 28), (320, 8, 14), (640, 4, 7)):
        expected += [(width, size)] * repeats
    expected += [(1024, 7), (1000, 1)]
    assert shapes == [(width, size, size) for width, size in expected]


def test_identities_stand_only_where_the_shape_is_kept():
    space = published.load("digits-mobile")
    for index, block in enumerate(space.blocks):
        in_shape = space.plan[index].in_shapes[0]
        for layer in block.layers:
            if isinstance(layer, Identity):
                assert space.output_shape(index, 0) == in_shape
    macro = published.load("nas-bench-macro")
    empty = [placed.block for placed in macro.layers([0] * 8) if not placed.graph]
    assert empty == ["stage1_1", "stage2_1", "stage2_2", "stage3_1", "stage3_2"]


def test_rows_of_nas_bench_macro_are_written_in_digits():
    space = published.load("nas-bench-macro")
    for row in itertools.product(*map(range, space.num_options)):
        assert space.notate(row) == "".join(map(str, row))
        assert tuple(space.parse(space.notate(row))) == row


def test_every_row_of_nas_bench_macro_is_in_the_benchmark(data):
    table = json.loads((data / "nas-bench-macro_cifar10.json").read_text())
    space, best = published.architecture("nas-bench-macro-best")
    rows = itertools.product(*map(range, space.num_options))
    assert {space.notate(row) for row in rows} == set(table)
    winner = max(table, key=lambda key: table[key]["mean_acc"])
    assert space.parse(winner).tolist() == best.tolist()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "digit-mobile",
            {},
            "space 'digit-mobile' is unknown: did you mean 'digits-mobile'? "
            f"valid: {', '.join(sorted([*published.SPACES, *published.NETWORKS]))}",
        ),
        (
            "digits-mobile",
            {"clases": 3},
            "space 'digits-mobile' has no option 'clases': did you mean 'classes'? "
            "valid: classes, in_channels, resolution",
        ),
        (
            "digits-mobile",
            {"classes": 0},
            "space 'digits-mobile': classes=0 must be at least 1",
        ),
        (
            "spos-shufflenet",
            {"resolution": 100},
            "space 'spos-shufflenet': resolution=100 must be a multiple of 32",
        ),
    ],
)
def test_what_load_refuses(name, options, message):
    with pytest.raises(InputError) as error:
        published.load(name, **options)
    assert str(error.value) == message


def test_unknown_architectures_are_refused():
    with pytest.raises(InputError, match="architecture 'spos-readm' is unknown: did you mean"):
        published.architecture("spos-readm")
