"""What holds without Ray; the rest is in the folder ray."""

import sys

import pytest

from nas_samplers import RayWorkers
from nas_spaces import InputError


def test_without_ray_a_person_is_told_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'nas-samplers\[ray\]'") as caught:
        RayWorkers()
    assert "which is not installed" in str(caught.value)


@pytest.mark.parametrize("setting", [{"workers": 0}, {"attempts": 0}, {"cpus": 0}, {"gpus": -1}])
def test_numbers_out_of_range_are_refused(setting):
    [(name, value)] = setting.items()
    with pytest.raises(InputError, match=f"{name}={value} must be"):
        RayWorkers(**setting)


def test_a_number_of_workers_is_no_address():
    with pytest.raises(InputError, match=r"address=4 must be text, .*workers is workers=NUMBER"):
        RayWorkers(4)


def test_ray_client_is_refused():
    with pytest.raises(InputError, match=r"Ray Client is not supported; .* address='auto' or the"):
        RayWorkers("ray://host:10001")
