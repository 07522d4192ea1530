"""python -m tests.fuzz --inputs 10000 [--reader NAME]: damaged inputs for readers; a table as it goes."""

import argparse
import importlib.util
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.fuzz.child import REFUSED, RIGHT, Verdict
from tests.fuzz.readers import READERS, Reader
from tests.fuzz.running import LIMIT_S, verdicts


def main() -> int:
    """0, or 1 where an input failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="of each reader")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first input: repeats one with --inputs 1"
    )
    parser.add_argument("--reader", action="append", choices=list(READERS), help="one or more; default: all")
    parser.add_argument(
        "--kept", type=Path, default=Path("runs/fuzz"), help="folder for the inputs that fail"
    )
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds that an input may take")
    chosen = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    print(f"{'reader':<22}{'inputs':>8}{'right':>8}{'refused':>9}{'failed':>8}{'inputs/s':>10}", flush=True)
    failed = False
    for name in chosen.reader or READERS:
        if READERS[name].needs and importlib.util.find_spec(READERS[name].needs) is None:
            print(f"{name:<22} not tried: needs the package {READERS[name].needs}", flush=True)
            continue
        numbers = range(chosen.first, chosen.first + chosen.inputs)
        failed |= _try(READERS[name], numbers, chosen.kept, chosen.limit)
    return int(failed)


def _try(reader: Reader, numbers: range, kept: Path, limit_s: float) -> bool:
    """Try a reader and print its row; whether an input failed."""
    counts: Counter[str] = Counter()
    failures: defaultdict[str, list[tuple[int, Verdict]]] = defaultdict(list)
    started = time.monotonic()
    for number, verdict in verdicts(reader, numbers, kept, limit_s):
        counts[verdict.outcome] += 1
        if verdict.outcome not in (RIGHT, REFUSED):
            failures[verdict.outcome].append((number, verdict))
    rate = len(numbers) / (time.monotonic() - started)
    bad = sum(map(len, failures.values()))
    print(
        f"{reader.name:<22}{len(numbers):>8}{counts[RIGHT]:>8}{counts[REFUSED]:>9}{bad:>8}{rate:>10.1f}",
        flush=True,
    )
    for outcome, found in sorted(failures.items(), key=lambda item: -len(item[1])):
        first, verdict = found[0]
        print(f"  {len(found)} × {outcome}; repeat: --reader {reader.name} --first {first} --inputs 1")
        print("    " + verdict.detail.strip().replace("\n", "\n    "), flush=True)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
