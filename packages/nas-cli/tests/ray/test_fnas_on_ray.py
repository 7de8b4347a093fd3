import json
import socket

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'nas-cli[ray]'")


def test_a_cluster_gives_what_one_process_gives(nas, tiny, tmp_path):
    small = {
        "baselines": 0,
        "train__epochs": 0.3,
        "train__batch_size": 16,
        "search__population": 3,
        "search__generations": 2,
        "policy__batch": 3,
        "critic__least": 3,
        "critic__steps": 2,
        "candidates__pairs": 2,
        "candidates__finalists": 2,
    }
    found = []
    for how in ({"executor": "processes", "workers": 1}, {"executor": "ray", "workers": 2}):
        out = tmp_path / how["executor"]
        options = tiny(**small, **{f"candidates__{key}": value for key, value in how.items()})
        result = nas("pipeline", "--method", "fnas", "--out", out, *options)
        assert result.exit_code == 0, result.output
        names = ("history.csv", "searches/main/pool.safetensors", "best/model.safetensors")
        found.append([(out / name).read_bytes() for name in names])
        searched = json.loads((out / "searches/main/result.json").read_text())
        assert (searched["evaluated"], searched["failed"]) == (6, [])
    assert found[0] == found[1]


def test_a_cluster_that_is_not_there_is_said_before_a_run_begins(nas, tiny, tmp_path):
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{there.getsockname()[1]}"
    where = ["--set", "candidates.executor=ray", "--set", f"candidates.address={closed}"]
    result = nas("pipeline", "--method", "fnas", "--out", tmp_path / "run", *tiny(), *where)
    assert result.exit_code == 2
    assert f"there is no Ray cluster at address='{closed}'" in result.output
    assert not (tmp_path / "run").exists()
