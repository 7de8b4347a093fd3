import pytest

from nas_cli.spaces import load_space
from nas_spaces import InputError, published, to_json


def test_published_and_file(tmp_path):
    space = published.load("digits-mobile", classes=4)
    path = tmp_path / "own.json"
    path.write_text(to_json(space))
    assert load_space(str(path)) == space
    assert load_space("digits-mobile").num_classes == 10


@pytest.mark.parametrize("content", [b"{}", b"[", b"\xff\xfe"])
def test_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"own\.json"):
        load_space(str(path))
