import pytest

from nas_cli.config import resolve
from nas_cli.limits import build_limits
from nas_cli.recipes import RECIPES
from nas_cli.scales import SCALES, defaults
from nas_cli.spaces import load_space
from nas_samplers import Distribution, EntropyRows
from nas_spaces import published


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


@pytest.mark.parametrize(("data", "many"), [("digits", 6), ("cifar10", 14), ("imagefolder:x", 14)])
def test_fpnas_begins_with_as_many_rows_as_parsec(data, many):
    fpnas, parsec = (resolve([{"method": name, "data": data}]) for name in ("fpnas", "parsec"))
    entropy = Distribution(load_space(fpnas.space)).entropy()
    rows = EntropyRows(fpnas.distribution.rows_per_nat)
    # Far from where a step has the fewest rows it can have.
    assert rows(entropy) == parsec.distribution.rows == many
    assert rows(entropy / 2) == many / 2


def test_what_holds_for_a_space_holds_by_its_name_too():
    def asked(**changes):
        config = resolve([{"method": "fpnas", **changes}])
        return config.space, config.resolution, config.distribution.rows_per_nat

    own = "digits-fp-nas"
    assert asked() == asked(space=own) == (own, None, 0.35)
    assert asked(space="digits-mobile") == ("digits-mobile", None, 0.25)
    assert asked(data="cifar10") == asked(data="cifar10", space=own) == (own, 32, 0.8)
    assert asked(data="cifar10", space=own, resolution=16) == (own, 16, 0.8)
    assert asked(data="imagefolder:x", space=own) == (own, 32, 0.8)
    assert asked(space="fbnetv2-f", data="imagefolder:x") == ("fbnetv2-f", None, 0.25)


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
        assert (small.space, small.resolution, small.train.epochs) == ("digits-fp-nas", 32, 100)
        assert small.images.held_out == 0.5
        named = resolve([{"method": method, "data": "cifar10", "space": "nas-bench-macro"}])
        assert (named.space, named.resolution) == ("nas-bench-macro", None)
        assert named.distribution.rows_per_nat == 0.25
        sized = resolve([{"method": method, "data": "imagefolder:x", "resolution": 16}])
        assert (sized.space, sized.resolution) == ("digits-fp-nas", 16)
    fnas = large["fnas"]
    assert (fnas.space, fnas.search.population * fnas.search.generations) == ("mnasnet", 8000)
    assert (fnas.train.epochs, fnas.candidates.finalists, fnas.reward.exponent) == (5, 10, -0.07)
