import numpy as np
import pytest

import nas_hw
from nas_cli.limits import METRICS, build_limits, cost_tables, merge_limits, parse_limit
from nas_spaces import InputError, published

SPACE = published.load("digits-mobile")
MACS = nas_hw.macs(SPACE)
PARAMS = nas_hw.params(SPACE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("macs<=300", 300),
        ("macs<=300k", 300e3),
        ("macs<=0.3M", 300e3),
        (" macs <= 300 K ", 300e3),
        ("macs<=300,000", 300e3),
        ("macs<=300_000", 300e3),
        ("macs<=3e5", 300e3),
        ("macs<=1.5G", 1.5e9),
        ("macs<=300Ki", 300 * 1024),
        ("macs<=0.5Mi", 2**19),
        ("macs<=6.25 Gi", 6.25 * 2**30),
    ],
)
def test_values(text, value):
    limit = parse_limit(text)
    assert (limit.metric, limit.sign, limit.value, limit.share) == ("macs", "<=", value, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("macs", "cannot be read; write it like 'macs<=300M'"),
        ("macs=<300M", "cannot be read"),
        ("macs<=-3", "must be a number above 0, like 300M, 6.3Gi or 50%; received '-3'"),
        ("macs<=nan", "must be a number above 0, like 300M, 6.3Gi or 50%; received 'nan'"),
        ("macs >=", "must be a number above 0, like 300M, 6.3Gi or 50%; received ''"),
        ("macs<=3.3.3M", "cannot be read"),
        ("macs<=3M params<=1M", "cannot be read"),
        ("macs<300M", "sign '<' is unknown; use <= or >="),
        ("macs=300M", "sign '=' is unknown"),
        ("macs<=300X", "unit 'X' is unknown; use K, M, G, Ki, Mi, Gi (2^30), %"),
        ("macs<=300KI", "unit 'KI' is unknown"),
        ("macs<=300ki", "unit 'ki' is unknown"),
        ("macs<=300m", "unit 'm' is unknown"),
        ("mac<=300M", "did you mean 'macs'?"),
        ("latency<=3", "metric 'latency' is unknown: valid: bitops, macs, params, peak"),
        ("peakmemory<=3", "did you mean 'peak_memory'?"),
        ("flops<=600M", "what papers call FLOPs of a network are its macs"),
    ],
)
def test_limits_of_another_form(text, says):
    with pytest.raises(InputError) as caught:
        parse_limit(text)
    assert says in str(caught.value)
    assert repr(text) in str(caught.value)


def test_all_limits_hold():
    feasible = build_limits(SPACE, ("macs<=500k", "params<=40k", "macs>=300k"))
    rows = feasible.sample(200, rng=np.random.default_rng(0))
    assert (MACS(rows) <= 500e3).all()
    assert (MACS(rows) >= 300e3).all()
    assert (PARAMS(rows) <= 40e3).all()


def test_the_tighter_of_two_limits_holds():
    [limit] = build_limits(SPACE, ("macs<=700k", "macs<=500k", "macs<=600k")).limits
    assert limit.upper == 500e3


def test_a_share_is_of_the_largest_architecture():
    largest = np.array(SPACE.num_options)[None] * 0 + 3  # 5x5, expansion 6 everywhere
    [limit] = build_limits(SPACE, ("macs<=50%",)).limits
    assert limit.upper == MACS(largest)[0] // 2


@pytest.mark.parametrize("text", ["macs<=1", "macs>=99M", "macs<=0%", "macs>=101%"])
def test_unattainable_limits_name_the_attainable_range(text):
    with pytest.raises(InputError, match="attainable: 159,264 to 1,212,288 multiply-adds"):
        build_limits(SPACE, (text,))


def test_contradictory_limits():
    with pytest.raises(InputError, match="contradict each other: macs cannot be at least 500,000"):
        build_limits(SPACE, ("macs<=300k", "macs>=500k"))


def test_limits_that_contradict_each_other_are_quoted():
    space = published.load("digits-mobile")
    with pytest.raises(InputError, match=r"limits 'macs<=50%' and 'macs>=60%' contradict"):
        build_limits(space, ("macs<=50%", "macs>=60%"))


@pytest.mark.parametrize("name", ["macs", "params", "peak_memory", "traffic"])
def test_every_cost_can_be_limited(name):
    table = METRICS[name](SPACE)
    values = np.sort(table(SPACE.sample(200, rng=np.random.default_rng(1))))
    feasible = build_limits(SPACE, (f"{name}<={values[20]}",))
    rows = feasible.sample(50, rng=np.random.default_rng(0))
    assert table(rows).max() <= values[20]


def test_what_is_limited_is_recorded():
    assert list(cost_tables(SPACE)) == ["macs", "params"]
    assert list(cost_tables(SPACE, ("params<=30k", "traffic<=1Mi"))) == [
        "macs",
        "params",
        "traffic",
    ]


def test_limits_stand_in_the_order_of_their_first_mention():
    limits = merge_limits(SPACE, ("params<=40k", "macs<=500k", "params>=20k"))
    assert [str(limit) for limit in limits] == [
        "20,000 <= params <= 40,000 parameters",
        "macs <= 500,000 multiply-adds",
    ]
