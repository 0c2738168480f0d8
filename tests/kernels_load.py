"""Do the kernels of the installed package load? Without PyTorch: `python tests/kernels_load.py`, which cibuildwheel runs.

`import videomamba.ops` needs PyTorch, which is gigabytes for Linux; the extension does not.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path


def load() -> tuple[Path, list[str]]:
    """The file of the kernels, and the instruction sets that they have for this processor."""
    package = importlib.util.find_spec("videomamba")
    (file,) = Path(package.submodule_search_locations[0], "ops").glob("_native*")
    spec = importlib.util.spec_from_file_location("videomamba.ops._native", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return file, module.isas()


if __name__ == "__main__":
    print(*load())
