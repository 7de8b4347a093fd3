"""Runs `nas` in forks of a process that has imported everything: a second a run instead of ten.

Reads jobs from standard input, one JSON object a line: ``args``; ``output``, a file for what the
run says; ``kill``, null or when to kill it with SIGKILL: before the n-th replacement of a file
(``{"replace": n}``; of one file: ``{"replace": n, "file": "history.json"}``), before the n-th line
of events is written (``{"event": n}``; or of another file: ``{"event": n, "file": "log.jsonl"}``),
or after so many seconds (``{"seconds": s}``). Writes the exit status of each, negative for a
signal.
"""

import json
import os
import signal
import sys


def kill_at(moment):
    """Kill this process at a moment, seen by Python's own audit events."""
    if "seconds" in moment:
        # Nothing catches SIGALRM: like SIGKILL it ends the process on the spot.
        signal.setitimer(signal.ITIMER_REAL, moment["seconds"])
        return
    if "replace" in moment:
        left, kind, place, name = moment["replace"], "os.rename", 1, moment.get("file", "")
    else:
        left, kind, place = moment["event"], "open", 0
        name = moment.get("file", "events.jsonl")

    def hook(event, args):
        nonlocal left
        if event == kind and str(args[place]).endswith(name):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


# Processes that a run starts import this file too, and need none of it.
if __name__ == "__main__":
    # What a run imports on its way, the first optimiser for example; only that it is there counts.
    import plotly.graph_objects
    import plotly.subplots  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch._dynamo  # noqa: F401

    import nas_cli.report.comparison
    import nas_cli.stage_compare
    import nas_cli.stage_rank
    import nas_cli.stage_retrain
    import nas_cli.stage_search
    import nas_cli.stage_train  # noqa: F401
    import nas_search.rl  # noqa: F401
    from nas_cli.main import main

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if job["kill"] is not None:
                kill_at(job["kill"])
            main(job["args"])
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
