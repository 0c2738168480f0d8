"""benchmarks/ is no package, since its scripts import each other as neighbours: here too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
