import json

import pytest

from nas_samplers.batch_log import BatchLog
from nas_samplers.candidate import Candidate
from nas_spaces import InputError

ONE = Candidate(3, (0, 1), 0.25, steps=7, hits=1, blocks=5, scratch_error=0.25, pool_error=0.5)
TWO = Candidate(4, (1, 1), 1.0, "no room")


@pytest.fixture
def log(tmp_path):
    return BatchLog(tmp_path / "candidates.jsonl", {"seed": 0, "archs": [[0, 1], [1, 1]]})


def test_what_is_read_is_what_was_written(log):
    assert log.read() == {}
    for candidate in (TWO, ONE):
        log.append(candidate)
    assert log.read() == {3: ONE, 4: TWO}
    # Again: reading changes nothing.
    assert log.read() == {3: ONE, 4: TWO}


def test_killed_at_any_byte(log):
    log.read()
    begun = log.path.read_bytes()
    log.append(ONE)
    first = log.path.read_bytes()
    log.append(TWO)
    whole = log.path.read_bytes()
    for size in range(len(begun), len(whole) + 1):
        log.path.write_bytes(whole[:size])
        found = log.read()
        assert found == {
            one.number: one for one, end in ((ONE, first), (TWO, whole)) if size >= len(end)
        }
        # What comes now stands on a line of its own.
        for one in (ONE, TWO):
            if one.number not in found:
                log.append(one)
        assert log.read() == {3: ONE, 4: TWO}


def test_files_of_others_and_damaged_ones(log):
    log.read()
    log.append(ONE)
    with pytest.raises(
        InputError, match="jsonl is of another search: its seed is 0, this one's is 1"
    ):
        BatchLog(log.path, {**log.made_with, "seed": 1}).read()
    header, line = log.path.read_text().splitlines()
    for damage in (header[:9], line.replace("arch", "march"), "[]", json.dumps({"arch": 3})):
        log.path.write_text(f"{header}\n{damage}\n")
        with pytest.raises(InputError, match=r"jsonl is damaged \(.*\); remove it to train its"):
            log.read()
    log.path.write_text(line + "\n")
    with pytest.raises(InputError, match="is damaged"):
        log.read()
