import pytest

from nas_cli.events import read_events
from nas_spaces import InputError


@pytest.mark.parametrize("line", [b"{", b"3", b"\xff\xfe\xfd"])
def test_damaged_lines_are_named_or_left_out(tmp_path, line):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": 1}\n' + line + b'\n{"event": 2}\n{"ev')
    assert list(read_events(path, strict=False)) == [(1, {"event": 1}), (3, {"event": 2})]
    with pytest.raises(InputError, match=r"events\.jsonl, line 2 is malformed"):
        list(read_events(path, strict=True))


def test_a_run_without_events(tmp_path):
    assert list(read_events(tmp_path / "events.jsonl", strict=True)) == []
    with pytest.raises(InputError, match="cannot be read"):
        list(read_events(tmp_path, strict=True))
