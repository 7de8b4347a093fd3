import pytest

from nas_cli.config import resolve
from nas_cli.limits import build_limits
from nas_cli.recipes import ADAPTED, DEFAULT_SPACES, RECIPES, SCALES
from nas_spaces import published


def test_every_scale_has_a_space():
    assert set(DEFAULT_SPACES) == set(SCALES)
    assert set(DEFAULT_SPACES.values()) <= set(published.SPACES)


@pytest.mark.parametrize("method", RECIPES)
@pytest.mark.parametrize("data", ["digits", "cifar10", "imagefolder:x"])
def test_every_recipe_is_complete_at_every_scale(method, data):
    config = resolve([{"method": method, "data": data}])
    # Limits that nothing satisfies are an error.
    assert build_limits(published.load(config.space), config.limits).limits


@pytest.mark.parametrize(("method", "macs"), [("spos", 330e6), ("fairnas", 388e6)])
def test_the_limit_of_the_paper(method, macs):
    config = resolve([{"method": method, "data": "imagefolder:x"}])
    [limit] = build_limits(published.load(config.space), config.limits).limits
    assert limit.upper == pytest.approx(macs, rel=0.01)


def test_a_method_may_differ_from_its_scale():
    assert set(ADAPTED) <= {(method, scale) for method in RECIPES for scale in SCALES}
    spos, fairnas = (resolve([{"method": method}]) for method in ("spos", "fairnas"))
    assert (spos.train.batch_size, spos.train.epochs) == (64, 60)
    assert (fairnas.train.batch_size, fairnas.train.epochs) == (64, 24)
    assert fairnas.search.recalibration_images == 0
    assert resolve([{"method": "fairnas", "data": "imagefolder:x"}]).space == "fairnas-19"
