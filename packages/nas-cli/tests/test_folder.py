import pytest

from nas_cli.folder import check_name, check_run
from nas_spaces import InputError


def test_names_of_searches():
    check_name("half-1.5_M")
    for name in ("", "../x", "a/b", ".hidden", "a b"):
        with pytest.raises(InputError, match="--name"):
            check_name(name)


def test_what_is_a_run(tmp_path):
    with pytest.raises(InputError, match=r"absent holds no run; `nas train --out .*absent`"):
        check_run(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no run"):
        check_run(tmp_path)
    (tmp_path / "config.toml").write_text("")
    check_run(tmp_path)
    with pytest.raises(InputError, match=r"config\.toml is a file; name the folder of a run"):
        check_run(tmp_path / "config.toml")
