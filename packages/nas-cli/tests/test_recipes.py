import pytest

from nas_cli.config import resolve
from nas_cli.limits import build_limits
from nas_cli.recipes import DEFAULT_SPACES, RECIPES, SCALES
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


def test_the_limit_of_the_paper():
    config = resolve([{"data": "imagefolder:x"}])
    [limit] = build_limits(published.load(config.space), config.limits).limits
    assert limit.upper == pytest.approx(330e6, rel=0.01)
