import pytest

import nas_hw
from nas_cli.config import resolve
from nas_cli.limits import build_limits
from nas_cli.recipes import ADAPTED, DEFAULT_SPACES, RECIPES, SCALES, defaults
from nas_cli.space_names import before_additions, fix_first
from nas_cli.spaces import load_space
from nas_spaces import published
from nas_spaces.vary import uniform_bits, usual_channels


def test_every_scale_has_a_space():
    assert set(DEFAULT_SPACES) == set(SCALES)
    assert set(DEFAULT_SPACES.values()) <= set(published.SPACES)


@pytest.mark.parametrize("method", RECIPES)
@pytest.mark.parametrize("data", ["digits", "cifar10", "imagefolder:x"])
def test_every_recipe_is_complete_at_every_scale(method, data):
    config = resolve([{"method": method, "data": data}])
    # Limits that nothing satisfies are an error.
    assert build_limits(load_space(config.space), config.limits).limits


@pytest.mark.parametrize(
    ("method", "macs"),
    [
        ("spos", 330e6),
        ("fairnas", 388e6),
        ("ponas", 379e6),
        ("proxyless", 320e6),
        ("gumbel", 295e6),
    ],
)
def test_the_limit_of_the_paper(method, macs):
    config = resolve([{"method": method, "data": "imagefolder:x"}])
    [limit] = build_limits(published.load(config.space), config.limits).limits
    assert limit.upper == pytest.approx(macs, rel=0.02)


def test_a_method_may_differ_from_its_scale():
    assert set(ADAPTED) <= {(method, scale) for method in RECIPES for scale in SCALES}
    spos, fairnas = (resolve([{"method": method}]) for method in ("spos", "fairnas"))
    assert (spos.train.batch_size, spos.train.epochs) == (64, 60)
    assert (fairnas.train.batch_size, fairnas.train.epochs) == (64, 24)
    assert fairnas.search.recalibration_images == 0
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


@pytest.mark.parametrize("method", RECIPES)
def test_what_a_recipe_sets_is_read(method):
    """Settings of parameters belong to samplers that have them, and so does their search."""
    recipe = RECIPES[method]
    sampler = recipe["supernet"].get("sampler")
    tables = {
        "alphas": sampler in ("balanced", "weighted", "mixture", "gumbel"),
        "distribution": sampler == "distribution",
    }
    for table, learns in tables.items():
        assert (table in recipe) == learns
        assert learns or not any(table in defaults(method, scale) for scale in SCALES)
    assert (recipe["search"]["searcher"] == "most-probable") == any(tables.values())


def test_the_papers_settings_stay_where_nothing_else_is_said():
    large = {method: resolve([{"method": method, "data": "imagefolder:x"}]) for method in RECIPES}
    assert large["proxyless"].alphas.variant == "two-path"
    assert large["gumbel"].alphas.temperature == 5.0
    assert large["darts"].alphas.beta1 == 0.5
    assert large["ponas"].meta.epochs == 120
    assert all((config.meta is None) == (name != "ponas") for name, config in large.items())
    assert {large[name].space for name in ("spos", "random", "oneshot")} == {"spos-shufflenet"}
    assert large["betanas"].space == "betanas"
    fpnas, parsec = large["fpnas"], large["parsec"]
    assert fpnas.space == parsec.space == "fbnetv2-f"
    epochs = fpnas.train.epochs
    assert (epochs, fpnas.distribution.warmup * epochs, fpnas.distribution.join_after * epochs) == (
        pytest.approx((315, 45, 80))
    )
    assert (fpnas.distribution.rows, fpnas.distribution.rows_per_nat) == (None, 0.25)
    assert (parsec.distribution.rows, parsec.distribution.joint) == (14, True)
    assert parsec.images.held_out == 0.5
    assert (fpnas.train.optimiser, fpnas.train.lr, fpnas.distribution.lr) == ("sgd", 0.8, 0.016)
    for method in ("fpnas", "parsec"):
        small = resolve([{"method": method, "data": "cifar10"}])
        assert (small.space, small.train.epochs) == ("nas-bench-macro", 100)
        assert small.images.held_out == 0.5
    fnas = large["fnas"]
    assert (fnas.space, fnas.search.population * fnas.search.generations) == ("mnasnet", 8000)
    assert (fnas.train.epochs, fnas.candidates.finalists, fnas.reward.exponent) == (5, 10, -0.07)
