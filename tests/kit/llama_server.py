"""One real llama.cpp server until it is killed: `python -m tests.kit.llama_server MODEL PORT`."""

import signal
import sys

import xllamacpp

SLOTS = 4
CONTEXT = 16_384
"""Shared by the slots."""


def main() -> None:
    """Serves with metrics and slots shown."""
    model, port = sys.argv[1:]
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(port)
    parameters.n_parallel = SLOTS
    parameters.n_ctx = CONTEXT
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    signal.pause()
    del server


if __name__ == "__main__":
    main()
