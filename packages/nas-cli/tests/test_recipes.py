import pytest

from nas_cli.config import resolve
from nas_cli.recipes import DEFAULT_SPACES, RECIPES, SCALES
from nas_spaces import published


def test_every_scale_has_a_space():
    assert set(DEFAULT_SPACES) == set(SCALES)
    assert set(DEFAULT_SPACES.values()) <= set(published.SPACES)


@pytest.mark.parametrize("method", RECIPES)
@pytest.mark.parametrize("data", ["digits", "cifar10", "imagefolder:x"])
def test_every_recipe_is_complete_at_every_scale(method, data):
    config = resolve([{"method": method, "data": data}])
    assert config.limits == ("macs<=50%",)
    assert config.space in published.SPACES
