"""``python -m lab`` removes what killed test runs left on this machine."""

from lab.lab import sweep

for name in sweep():
    print(f"removed {name}")
