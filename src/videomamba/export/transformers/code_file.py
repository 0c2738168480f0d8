"""The Python file in each saved folder, through which `trust_remote_code=True` finds the classes.

The file imports them from this package as a library: no code of the network is copied, and a folder always runs the code of
the installed version.
"""

from __future__ import annotations

import os
from pathlib import Path

from videomamba.files import make_folder, replace_text

CODE_FILE = "modeling_videomamba.py"

_CODE = '''"""The classes of this model: the Python package videomamba has them (pip install 'videomamba[hf]')."""

from videomamba.export.transformers import *
'''


def place(class_name: str) -> str:
    """Where transformers finds a class of ours in a saved folder, as "module.Class"."""
    return f"{Path(CODE_FILE).stem}.{class_name}"


def write_code(folder: str | os.PathLike[str]) -> None:
    """Writes the file into `folder`, which is created where it is missing. Raises VideoMambaError if that fails."""
    make_folder(Path(folder))
    replace_text(Path(folder) / CODE_FILE, _CODE)


class SavedWithCode:
    """The base of classes whose `save_pretrained` writes the file."""

    @classmethod
    def register_for_auto_class(cls, auto_class: object = None) -> None:
        """Does nothing. transformers calls it on each class that it loads with `trust_remote_code`; its own version would
        copy the file of the class, which here is a part of this package, into the next saved folder."""
