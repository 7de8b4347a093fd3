import json

import numpy as np
import pytest
import torch

from nas_samplers import PathDropout
from nas_samplers.path_dropout import drop_probability
from nas_spaces import InputError, published
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.testing import check_sampler
from nas_spaces.torch import Supernet


def dropout(space, rate=0.3, ramp=0, seed=0):
    return PathDropout(space, rng=np.random.default_rng(seed), rate=rate, ramp=ramp)


def kept_by(rows, space):
    kept = np.zeros(space.mask.shape, dtype=bool)
    kept[np.arange(rows.shape[1]), rows] = True
    return kept


@pytest.mark.parametrize(
    ("rate", "candidates", "expected"),
    [
        (0.1, 1, 0.1),
        (0.1, 2, 0.31622776601683794),
        (0.1, 4, 0.5623413251903491),
        (0.05, 1, 0.05),
        (0.05, 2, 0.22360679774997896),
        (0.05, 4, 0.4728708045015879),
        (0.01, 1, 0.01),
        (0.01, 2, 0.1),
        (0.01, 4, 0.31622776601683794),
    ],
)
def test_the_known_answers(rate, candidates, expected):
    assert drop_probability(rate, candidates) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["nas-bench-macro", "digits-mobile", "nas-bench-201"])
def test_it_keeps_the_rules_of_samplers(name):
    space = published.load(name)
    check_sampler(lambda rng: PathDropout(space, rng=rng, rate=0.3, ramp=2), space)


def test_options_are_dropped_as_often_as_the_rate_says():
    space = published.load("digits-mobile")
    mask = space.mask.copy()
    mask[0, 1:3] = False
    space = space.restrict(mask)
    sampler, asks = dropout(space, 0.3), 4000
    kept = np.array([kept_by(sampler.ask(), space) for _ in range(asks)])
    assert kept.any(axis=2).all()
    assert not kept[:, ~mask].any()
    sizes = mask.sum(axis=1)
    dropped = 0.3 ** (1 / sizes)
    # A dropped option comes back where all were, and it was the one of them.
    expected = 1 - dropped + 0.3 / sizes
    np.testing.assert_allclose(kept.mean(axis=0), mask * expected[:, None], atol=0.04)
    alone = kept.sum(axis=2) == 1
    # Exactly one kept by luck, or none and one put back.
    by_luck = sizes * (1 - dropped) * dropped ** (sizes - 1)
    np.testing.assert_allclose(alone.mean(axis=0), by_luck + 0.3, atol=0.04)


def test_rate_one_is_a_uniform_single_path():
    space = published.load("nas-bench-macro")
    sampler = dropout(space, 1.0)
    rows = [sampler.ask() for _ in range(3000)]
    assert {row.shape for row in rows} == {(1, 8)}
    shares = np.array([np.bincount(c, minlength=3) for c in np.concatenate(rows).T]) / 3000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.04)


def test_rate_zero_keeps_everything():
    space = published.load("digits-mobile")
    sampler = dropout(space, 0.0)
    assert all(np.array_equal(kept_by(sampler.ask(), space), space.mask) for _ in range(50))


def test_the_rate_grows_linearly_from_nothing():
    space = published.load("nas-bench-macro")
    ramp, seeds = 4, 600
    kept = np.zeros(7)
    for seed in range(seeds):
        sampler = dropout(space, 0.5, ramp, seed)
        kept += [kept_by(sampler.ask(), space).mean() for _ in range(7)]
    rates = 0.5 * np.array([0, 0.25, 0.5, 0.75, 1, 1, 1])
    expected = 1 - rates ** (1 / 3) + rates / 3
    np.testing.assert_allclose(kept / seeds, expected, atol=0.02)
    assert kept[0] == seeds


def test_a_block_returns_the_mean_of_what_is_kept(space):
    network = Supernet(space, generator=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    rows = np.array([[0, 2, 1], [1, 2, 0]])
    gates = torch.tensor([[0.5, 0.5, 0], [0, 0, 1], [0.5, 0.5, 0]])
    logits = dropout(space).join(network, images, rows)
    torch.testing.assert_close(logits, network(images, gates))
    single = dropout(space).join(network, images, rows[:1])
    assert torch.equal(single, network(images, rows[0]))


def test_its_state_is_whole(space):
    one, other = dropout(space, ramp=8), dropout(space, ramp=8, seed=5)
    for _ in range(4):
        one.ask()
    other.load_state_dict(from_jsonable(json.loads(json.dumps(to_jsonable(one.state_dict(), "")))))
    assert all(np.array_equal(one.ask(), other.ask()) for _ in range(8))
    with pytest.raises(InputError, match=r"rate is 0\.3, this one's is 0\.4"):
        dropout(space, 0.4, 8).load_state_dict(one.state_dict())


def test_what_cannot_be(space):
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=f"rate={rate} must be .* at least 0 and at most 1"):
            dropout(space, rate)
    with pytest.raises(InputError, match="ramp=-1"):
        dropout(space, ramp=-1)
    with pytest.raises(InputError, match="no choices"):
        dropout(space.fix([0, 0, 0]))
    with pytest.raises(InputError, match="gates cannot mix block"):
        dropout(published.load("spos-shufflenet-joint"))
