import json

import numpy as np
import pytest

from nas_samplers import Distribution, EntropyRows, EntropySampler
from nas_spaces import InputError, published
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.testing import check_sampler


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    "options",
    [{}, {"rows": 3}, {"rows": EntropyRows(0.5, least=1, most=4)}, {"warmup": 2, "warmup_rows": 1}],
)
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", ["digits-mobile", "resnet18-quant"])
def test_it_keeps_the_rules_of_samplers(name, joint, options):
    space = published.load(name)
    check_sampler(
        lambda rng: EntropySampler(Distribution(space, joint=joint), rng=rng, **options), space
    )


def test_the_paper_begins_with_14_rows():
    one = Distribution(published.load("fbnetv2-f", resolution=32))
    assert one.entropy() / 4 == pytest.approx(14.063415761486755)
    assert EntropyRows(least=1)(one.entropy()) == 14
    assert EntropySampler(one, rng=rng()).ask().shape == (14, 50)


def test_rows_follow_the_entropy_within_bounds(grouped):
    one = Distribution(grouped((4,), (4,), (4,)))  # 4.16 nats
    sampler = EntropySampler(one, rng=rng(), rows=EntropyRows(2.0, least=3, most=7))
    sizes = []
    for logit in (0.0, 2.0, 3.0, 9.0):
        one.values[:, 0] = logit
        rows = sampler.ask()
        sizes.append(len(rows))
        assert sampler.entropy == one.entropy()
        assert one.rows == len(rows)
    # 2 H = 8.3, 5.5, 3.2 and 0.0
    assert sizes == [7, 6, 3, 3]
    assert (one.steps, one.sampled) == (4, 19)
    assert (rows == 0).all()


def test_the_warm_up_is_uniform_and_the_rest_is_not(grouped):
    one = Distribution(grouped((3, 2), (4,)))
    one.values[:, 0] = 30.0
    sampler = EntropySampler(one, rng=rng(), rows=50, warmup=4, warmup_rows=200)
    assert not sampler.warming
    warm = [sampler.ask() for _ in range(4)]
    assert sampler.warming
    assert [len(rows) for rows in warm] == [200] * 4
    counts = [np.bincount(column) for column in np.concatenate(warm).T]
    assert [len(count) for count in counts] == [3, 2, 4]
    for count in counts:
        assert abs(count - 800 / len(count)).max() < 90
    after = sampler.ask()
    assert not sampler.warming
    assert after.shape == (50, 3)
    assert (after == 0).all()


def test_the_warm_up_keeps_to_live_options(grouped):
    space = grouped((3, 2), (4,))
    alive = space.mask.copy()
    alive[0, 1] = alive[2, 3] = False
    sampler = EntropySampler(Distribution(space.restrict(alive)), rng=rng(), rows=40, warmup=1)
    for rows in (sampler.ask(), sampler.ask()):
        assert set(rows[:, 0]) == {0, 2}
        assert set(rows[:, 2]) == {0, 1, 2}


def test_its_state_is_whole(grouped):
    def build(seed):
        return EntropySampler(Distribution(grouped((3, 2), (4,))), rng=rng(seed), rows=2, warmup=3)

    one, other = build(0), build(1)
    one.ask()
    one.ask()
    other.load_state_dict(from_jsonable(json.loads(json.dumps(to_jsonable(one.state_dict(), "")))))
    for _ in range(4):
        np.testing.assert_array_equal(one.ask(), other.ask())
        assert one.warming == other.warming
        assert one.entropy == other.entropy
    fixed = EntropySampler(Distribution(grouped((3, 2), (4,))), rng=rng(), rows=3, warmup=3)
    with pytest.raises(InputError, match="another sampler: its rows is 2, this one's is 3"):
        fixed.load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rows": 0}, "rows=0 must be an integer at least 1"),
        ({"rows": 2.5}, r"rows=2\.5 must be an integer"),
        ({"rows": True}, "rows=True"),
        ({"warmup": -1}, "warmup=-1 must be an integer at least 0"),
        ({"warmup_rows": 0}, "warmup_rows=0"),
    ],
)
def test_arguments_out_of_range(grouped, wrong, words):
    with pytest.raises(InputError, match=words):
        EntropySampler(Distribution(grouped((2,))), rng=rng(), **wrong)


@pytest.mark.parametrize("share", [1e308, 1e300, 1e5])
def test_a_share_that_nobody_means_is_refused_at_once(grouped, share):
    one = Distribution(grouped((4,), (4,), (4,)))  # 4.16 nats: more than floats hold, or too many
    words = (
        r"of 4\.2 nats asks for more than 10,000 rows in a step; lower it, or bound them by most"
    )
    with pytest.raises(InputError, match=words):
        EntropySampler(one, rng=rng(), rows=EntropyRows(share))
    assert len(EntropySampler(one, rng=rng(), rows=EntropyRows(share, most=7)).ask()) == 7
    with pytest.raises(InputError, match="more than 20,000 rows"):
        EntropyRows(1e308, least=20_000)(1.0)
    least = EntropyRows(0.25, least=20_000)
    assert least(4.16) == 20_000


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"share": 0}, "share=0 must be a finite number above 0"),
        ({"share": -0.25}, "share=-0.25"),
        ({"share": float("inf")}, "share=inf"),
        ({"least": 0}, "least=0 must be an integer at least 1"),
        ({"most": 0}, "most=0"),
        ({"least": 5, "most": 4}, "most=4 must be at least least=5"),
    ],
)
def test_rows_out_of_range(wrong, words):
    with pytest.raises(InputError, match=words):
        EntropyRows(**wrong)
