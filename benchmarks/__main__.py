"""All benchmarks, one after the other, into benchmarks/results/: python -m benchmarks [OPTION …]

Options go to each of them: --width, --size, --batch, --repeats. One that fails does not stop the others.
"""

import subprocess
import sys

NAMES = ("train_step", "inference", "input", "startup", "stain")


def main() -> None:
    failed = []
    for name in NAMES:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False
        ).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
