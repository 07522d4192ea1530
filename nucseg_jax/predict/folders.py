"""Names of the slides' folders: that of the slide, and with its parents' names where two would be the same.

P1/HE.svs and P2/HE.svs go to P1_HE and P2_HE. A slide that has a result already keeps its folder, so that the
names stay when a command is given again with more slides, in another order, or on another machine.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from nucseg_jax.io.names import is_address, shortened
from nucseg_jax.predict.results import source_name, source_of


def folder_names(sources: Sequence[Path], out: Path) -> list[str]:
    """The name of each slide's folder in `out`; no two are the same, not even but for the case.

    Args:
      sources: the slides, each once.
      out: the folder of all results; it need not exist.
    """
    names = [_names(source) for source in sources]
    # What is finished changes no other slide's name: machines that start later have the same names.
    levels = _apart(names, [0] * len(names), set())
    known = _known(sources, names, out)
    levels = _apart(names, [known.get(i, level) for i, level in enumerate(levels)], set(known))
    return [names[i][level] for i, level in enumerate(levels)]


def _apart(names: Sequence[Sequence[str]], levels: Sequence[int], kept: set[int]) -> list[int]:
    """Which of its names each slide takes, so that no two are the same.

    Args:
      names: of each slide (`_names`).
      levels: the shortest that each may take.
      kept: slides that keep theirs.
    """
    chosen = list(levels)
    while moving := _clashing([names[i][level] for i, level in enumerate(chosen)], chosen, kept):
        for i in moving:
            chosen[i] += 1
    return chosen


def _names(source: Path) -> list[str]:
    """What a slide's folder may be called, the shortest first; the last is like no other's."""
    path = Path(os.path.abspath(source))
    if is_address(source):
        path = Path(str(source).replace(":", "_"))  # of a port, which Windows has in no name
    parents = path.parent.parts[1:]  # without the disk, or the scheme of an address
    names = ["_".join([*parents[len(parents) - level :], path.stem]) for level in range(len(parents) + 1)]
    digits = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    ending = path.suffix.lstrip(".")
    return [shortened(name) for name in (*names, f"{path.stem}_{ending}", f"{path.stem}_{digits}")]


def _known(sources: Sequence[Path], names: Sequence[Sequence[str]], out: Path) -> dict[int, int]:
    """Which of its names each slide has that is finished already: index → level."""
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    levels: dict[int, int] = {}
    taken: set[str] = set()
    for i, source in enumerate(sources):
        for level, name in enumerate(names[i]):
            if name in there and name not in taken and source_of(out / name) == source_name(source):
                levels[i] = level
                taken.add(name)
                break
    return levels


def _clashing(names: Sequence[str], levels: Sequence[int], kept: set[int]) -> list[int]:
    """Those of equal names that take a longer one: never one with a result, nor one that need not."""
    groups = defaultdict(list)
    for i, name in enumerate(names):
        groups[name.casefold()].append(i)  # some file systems ignore the case
    moving = []
    for group in groups.values():
        if len(group) > 1:
            free = [i for i in group if i not in kept]
            moving += free if len(free) < len(group) else ([i for i in free if levels[i]] or free)
    return moving
