import json

import attrs
import numpy as np
import pytest

import nas_hw
from nas_cli import show
from nas_cli.architecture_text import options_of
from nas_spaces import Block, Choice, FeasibleSet, Limit, SearchSpace, published, to_json
from nas_spaces.layers import Classifier, Conv, Identity
from nas_spaces.vary import uniform_bits

SPOS = "2,1,0,1,2,0,2,0,2,0,2,3,0,0,0,0,3,2,3,3"


def test_the_list_has_every_space_in_a_line(nas):
    listed = json.loads(nas("spaces", "--json").stdout)
    names = [*sorted(published.SPACES), *sorted(published.NETWORKS)]
    assert {name: one["size"] for name, one in listed.items()} == {
        name: published.load(name).size for name in names
    }
    lines, behind = nas("spaces").stdout.split("\n\n")
    lines = lines.splitlines()
    assert [line.split()[0] for line in lines] == names
    without = [line.split()[0] for line in lines if line.split()[1:3] == ["no", "choices"]]
    assert without == sorted(published.NETWORKS)
    assert all(text in behind for text in ("@ROW", "+channels=0.5,1,1.5", "+bits=2w2a,4w4a"))
    assert [line for line in lines if line.split()[:2] == ["nas-bench-macro", "6,561"]]
    assert all(len(line.split()) > 4 for line in lines)


def test_a_space(nas):
    shown = json.loads(nas("spaces", "digits-mobile", "--json").stdout)
    assert shown["size"] == 200_000
    assert shown["costs"]["macs"] == [159_264, 1_212_288]
    assert set(shown["costs"]) == {"macs", "params", "bitops", "peak_memory", "traffic"}
    assert [choice["name"] for choice in shown["choices"]][:2] == ["stage1_0", "stage1_1"]
    text = nas("spaces", "digits-mobile").stdout
    assert "digits-mobile: 200,000 architectures of 8 choices" in text
    assert "input: 1 x 8 x 8, 10 classes" in text
    assert "macs: 159,264 to 1,212,288 multiply-adds" in text
    assert "1 stage1_1: 0: mb_k3_e3, 1: mb_k3_e6" in text


def test_bit_operations_are_shown_where_bits_differ(nas):
    shown = json.loads(nas("spaces", "resnet18-quant", "--json").stdout)
    assert 0 < shown["costs"]["bitops"][0] < shown["costs"]["bitops"][1]
    assert shown["units"]["bitops"] == "bit operations"
    # 2 bits everywhere at the usual width: 6.32 G of 2^30 in SPOS's table.
    row = "1" * 16
    cost = nas("cost", "resnet18-quant", row).stdout
    assert "bitops: 6,782,189,568 bit operations (6.3164 G of 2^30, as in SPOS's table)" in cost
    assert "bitops" not in nas("cost", "digits-mobile", "0" * 8).stdout
    assert json.loads(nas("cost", "digits-mobile", "0" * 8, "--json").stdout)["bitops"] == 0


def test_options_without_effect_are_not_shown(nas):
    # Blocks of choices kernel, bits and scale: an identity, and one with bits and channels.
    row = "2,5,0," + "0,5,1," + "0,5,1," * 7
    shown = nas("cost", "resnet20-blocks+bits+channels=0.5,1", row.strip(","))
    assert "  stage1: identity, k3 4w4a scale 1, k3 4w4a scale 1\n" in shown.stdout
    shown = nas("cost", "resnet20-blocks+bits=4w4a", "2,0,0,0," + "0,0," * 6 + "2,0")
    assert "  stage1: identity, k3 4w4a, k3 4w4a; stage2: " in shown.stdout
    assert "k3 4w4a, identity\n" in shown.stdout


def test_a_choice_that_several_blocks_read_is_shown_where_one_of_them_has_it():
    layers = [Conv(8, 3), Conv(8, 5)]
    space = SearchSpace(
        "shared",
        (1, 8, 8),
        [Choice("kernel", (3, 5)), Choice("skip", ("no", "yes"))],
        [
            Block("stem", [Conv(8, 3)]),
            Block("one", [layers[0], Identity(), layers[1], Identity()], reads=["kernel", "skip"]),
            Block("two", layers, reads=["kernel"]),
            Block("head", [Classifier(10)]),
        ],
    )
    assert options_of(space, [1, 1]) == {"kernel": "5", "skip": "yes"}
    alone = attrs.evolve(space, blocks=[b for b in space.blocks if b.name != "two"])
    assert options_of(alone, [1, 1]) == {"skip": "yes"}
    assert options_of(alone, [1, 0]) == {"kernel": "5", "skip": "no"}


def test_a_space_of_one_architecture_needs_no_row(nas):
    shown = json.loads(nas("cost", "digits-resnet@0,0,0,0,0,0+bits=4w4a", "--json").stdout)
    assert shown["architecture"] == [0] * 6
    network = uniform_bits(published.load("digits-resnet"), [0] * 6, 4)
    assert shown["bitops"] == nas_hw.bitops(network)([[]])[0]
    text = nas("spaces", "digits-resnet@0,0,0,0,0,0+bits=4w4a").stdout
    assert "digits-resnet@...+bits=4w4a: 1 architecture of 6 choices" in text


def test_a_cost_that_cannot_be_tabulated_is_left_out(nas, tmp_path):
    names = [f"c{i}" for i in range(24)]
    layers = [Identity(), Conv(8, 3), Conv(8, 5)]
    space = SearchSpace(
        "wide",
        (1, 8, 8),
        [Choice(name, (0, 3, 5)) for name in names],
        [
            Block("stem", [Conv(8, 3)]),
            *(Block(f"b{name}", layers, reads=[name]) for name in names),
            Block("sum", [Conv(8, 3)], inputs=["stem", *(f"b{name}" for name in names)]),
            Block("head", [Classifier(10)]),
        ],
    )
    path = tmp_path / "wide.json"
    path.write_text(to_json(space))
    shown = json.loads(nas("spaces", path, "--json").stdout)
    assert set(shown["costs"]) == {"macs", "params", "bitops", "traffic"}
    assert list(shown["not_tabulated"]) == ["peak_memory"]
    assert "peak_memory: not tabulated: peak memory: what is" in nas("spaces", path).stdout
    # Of one network it is known.
    assert json.loads(nas("cost", path, "0" * 24, "--json").stdout)["peak_memory"] > 0


def test_published_architectures_of_a_space(nas):
    shown = json.loads(nas("spaces", "spos-shufflenet", "--json").stdout)
    assert shown["architectures"]["spos-readme"] == [int(option) for option in SPOS.split(",")]
    assert f"published: spos-readme {SPOS}" in nas("spaces", "spos-shufflenet").stdout
    assert json.loads(nas("spaces", "digits-mobile", "--json").stdout)["architectures"] == {}


def test_one_limit_is_counted(nas):
    command = ["spaces", "spos-shufflenet", "--limit", "macs<=300M", "--limit", "macs>=290M"]
    text = nas(*command).stdout
    assert text.splitlines() == [
        "spos-shufflenet: 1.1e+12 architectures of 20 choices",
        "limit: 290,000,000 <= macs <= 300,000,000 multiply-adds",
        "within: 11,953,060,412 architectures, 1.09 % of the space",
    ]
    said = json.loads(nas(*command, "--json").stdout)
    assert said["count"] == [11_953_060_412] * 2
    assert said["share"] == [11_953_060_412 / 4**20] * 2
    assert "estimate" not in said


def test_several_limits_are_bounded_and_estimated(nas):
    space = published.load("nas-bench-macro")
    everything = np.stack(np.meshgrid(*[range(3)] * 8, indexing="ij"), axis=-1).reshape(-1, 8)
    limits = [Limit(nas_hw.macs(space), upper=60e6), Limit(nas_hw.params(space), upper=1e6)]
    inside = FeasibleSet(space, limits).contains(everything).sum()
    command = ["spaces", "nas-bench-macro", "--limit", "macs<=60M", "--limit", "params<=1M"]
    said = json.loads(nas(*command, "--json").stdout)
    low, high = said["count"]
    assert low <= inside <= high
    assert low < high
    assert said["estimate"] == pytest.approx(inside, rel=0.1)
    assert 0 < said["acceptance"] < 1
    *_, within, drawn = nas(*command).stdout.splitlines()
    assert within.startswith(f"within: between {low:,} and {high:,} architectures, ")
    assert f"of 10,000 rows among the {high:,} are within, about {said['estimate']:,}" in drawn


def test_large_counts_are_short_for_people(nas):
    text = nas("spaces", "fbnetv2-f", "--limit", "macs<=50%").stdout
    assert "within: between 2.63e+24 and 2.63e+24 architectures, 97.6 % of the space" in text
    assert "among the 2.63e+24 are within" in text


@pytest.mark.parametrize(
    ("space", "arch", "says"),
    [
        ("nas-bench-201", "1,2,x", "is no row of integers; write it as 2,1,0,..."),
        ("nas-bench-201", "-1,0,0,0,0,x", "is no row of integers; write it as 2,1,0,..."),
        ("nas-bench-macro", "2,2,x", "is no row of integers; write it as 2,1,0,..."),
        ("nas-bench-macro", "2221222x", "choice 'stage3_2' has no option 'x'; valid: 0, 1, 2"),
        ("nas-bench-201", "|none~0", "behind 'none' of choice 'node1_from0' stands no '~0|+|'"),
    ],
)
def test_what_is_no_row(nas, space, arch, says):
    result = nas("cost", space, "--", arch)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_space_says_how_its_benchmark_writes_rows(nas):
    text = nas("spaces", "nas-bench-201").stdout
    assert "written: as a row of option numbers, or as |{option}~0|+|{option}~0|{opt" in text
    assert "written" not in nas("spaces", "digits-mobile").stdout


def test_cost(nas):
    said = json.loads(nas("cost", "spos-shufflenet", SPOS, "--json").stdout)
    assert (said["macs"], said["params"]) == (322_918_720, 3_558_464)
    assert said["architecture"] == [int(option) for option in SPOS.split(",")]
    assert (said["options"]["stage1_0"], len(said["options"])) == ("choice_7", 20)
    assert json.loads(nas("cost", "spos-readme", "--json").stdout) == said
    lines = nas("cost", "spos-readme").stdout.splitlines()
    assert lines[:7] == [
        f"spos-shufflenet {SPOS}",
        "  stage1: choice_7, choice_5, choice_3, choice_5",
        "  stage2: choice_7, choice_3, choice_7, choice_3",
        "  stage3: choice_7, choice_3, choice_7, choice_x, choice_3, choice_3, choice_3, choice_3",
        "  stage4: choice_x, choice_7, choice_x, choice_x",
        "macs: 322,918,720 multiply-adds",
        "params: 3,558,464 parameters",
    ]


def test_bits_are_written_as_they_are_given(nas):
    name = "digits-resnet@0,0,0,0,0,0+bits=1w2a,4w4a+channels=0.5,1"
    assert " 0 stage1_0_bits: 0: 1w2a, 1: 4w4a" in nas("spaces", name).stdout
    shown = nas("cost", name, "0,1,1,0,0,0,0,0,0,0,0,0").stdout.splitlines()
    assert shown[1:3] == [
        "  stage1: 1w2a scale 1, 4w4a scale 0.5; stage2: 1w2a scale 0.5, 1w2a scale 0.5",
        "  stage3: 1w2a scale 0.5, 1w2a scale 0.5",
    ]


def test_an_architecture_as_its_benchmark_writes_it(nas):
    # The benchmark's closed form: 7.78305M + 35.38944M for each 3x3 convolution in a cell.
    edges = [
        "|nor_conv_3x3~0|",
        "|none~0|nor_conv_3x3~1|",
        "|skip_connect~0|none~1|nor_conv_3x3~2|",
    ]
    text = "+".join(edges)
    said = json.loads(nas("cost", "nas-bench-201", text, "--json").stdout)
    assert said["notation"] == text
    assert said["macs"] == pytest.approx(7.78305e6 + 3 * 35.38944e6, abs=20)
    row = ",".join(map(str, said["architecture"]))
    first = nas("cost", "nas-bench-201", row).stdout.splitlines()[0]
    assert first == f"nas-bench-201 {row} = {text}"
    assert "notation" not in json.loads(nas("cost", "spos-readme", "--json").stdout)


@pytest.mark.parametrize("name", sorted(nas_hw.CONVENTIONS))
def test_conventions(nas, name):
    space, arch = published.architecture("spos-readme")
    said = json.loads(nas("cost", "spos-readme", "--convention", name, "--json").stdout)
    assert said["convention"] == name
    assert said["macs"] == nas_hw.macs(space, name)([arch])[0]
    assert said["params"] == nas_hw.params(space, name)([arch])[0]
    text = nas("cost", "spos-readme", "--convention", name).stdout
    assert (f"convention: {name}, of " in text) == (name != "standard")
    # The help names them without importing what defines them.
    assert name in nas("cost", "--help").stdout


@pytest.mark.parametrize("name", ["spos-readme", "nas-bench-macro-best"])
def test_costs_of_a_network_are_those_of_the_tables_of_its_space(name):
    space, arch = published.architecture(name)
    said = show.describe_cost(name, None)
    for key in ("macs", "params", "peak_memory", "traffic"):
        table = getattr(nas_hw, key)(space)
        assert said[key] == table([arch])[0]
        assert said["units"][key] == table.unit


@pytest.mark.parametrize("name", sorted(published.ARCHITECTURES))
def test_every_published_architecture_has_costs(name):
    said = show.describe_cost(name, None)
    assert min(said["macs"], said["params"], said["peak_memory"], said["traffic"]) > 0
    assert show.show_cost(said)


def test_a_published_network_without_choices(nas):
    name = sorted(published.NETWORKS)[0]
    assert json.loads(nas("cost", name, "--json").stdout)["architecture"] == []
    assert nas("spaces", name).stdout.startswith(f"{name}: 1 architecture")


def test_a_space_in_a_file(nas, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(to_json(published.load("digits-mobile", classes=4)))
    assert json.loads(nas("spaces", path, "--json").stdout)["classes"] == 4
    assert json.loads(nas("cost", path, "0" * 8, "--json").stdout)["macs"] > 0
    path.write_text(to_json(published.load("digits-mobile").fix([0] * 8)))
    assert json.loads(nas("cost", path, "--json").stdout)["macs"] > 0
