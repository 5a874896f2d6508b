"""Starts scripts in processes that have imported everything already, so that each costs milliseconds and not seconds.

Reads one JSON object a line: `{"script": ..., "arguments": [...], "log": ..., "environment": {...}, "largest": bytes}`
forks a process that runs the script as a command line would and answers with its id; `{"wait": id}` answers with its
exit status, -9 for one that was killed. It ends when its input does.
"""

import contextlib
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import traceback

import torch

WANTED = ("structkd.engine", "structkd.distillers", "sklearn.datasets", "matplotlib.pyplot", "torch.utils.tensorboard")
for name in WANTED:
    with contextlib.suppress(ImportError):  # not all of them are installed everywhere
        importlib.import_module(name)
torch.set_num_threads(1)


def child(request):
    """The script, in this process; returns the exit status."""
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(request.get("environment", {}))
    if "largest" in request:  # as if the disk were full: a write beyond fails with an error instead of a signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], resource.RLIM_INFINITY))
    sys.argv = [request["script"], *request["arguments"]]
    try:
        runpy.run_path(request["script"], run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve():
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            code = child(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
    os._exit(0)  # tidying up all that was imported takes seconds
