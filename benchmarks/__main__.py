"""`python -m benchmarks`: both benchmarks, one after the other."""

import subprocess
import sys
from pathlib import Path

for script in ("steps.py", "tokens.py"):
    print(f"# {script}\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(script)], check=True)
    print()
