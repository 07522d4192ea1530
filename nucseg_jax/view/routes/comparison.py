"""Endpoints of comparisons of two results of one slide."""

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nucseg_jax.errors import in_short
from nucseg_jax.view.comparison.store import ComparisonStore
from nucseg_jax.view.library import Library, ListedResult

ROLES = ("reference", "other")


class CompareRoutes:
    """Endpoints of comparisons.

    Args:
      library: knows the results.
      store: compares them.
    """

    def __init__(self, library: Library, store: ComparisonStore) -> None:
        self._library, self._store = library, store
        self.routes = [Route("/compare", self.compare)]

    def compare(self, request: Request) -> Response:
        """Scores of two results against each other, and how many nuclei became what."""
        reference, other = (self._library.result(_needed(request, role)) for role in ROLES)
        found = self._store.comparison(reference, other)
        return JSONResponse(
            {
                "reference": reference.id,
                "other": other.id,
                **found.scores,
                "counts": found.counts,
                "notes": found.notes,
            }
        )

    def outcomes(self, request: Request, result: ListedResult) -> NDArray[np.float32]:
        """The Outcome of each nucleus of a result, float32 [nuclei]; NaN where it was not compared.

        Args:
          request: its query says `against` which result, and the `role` of this one.
          result: whose nuclei they are.

        Raises:
          HTTPException: 400: the query is wrong.
        """
        if "value" in request.query_params:
            raise HTTPException(400, "give value=MEASUREMENT or against=ID, not both")
        role = _needed(request, "role")
        if role not in ROLES:
            raise HTTPException(400, f"role must be reference or other, got {in_short(role, 40)}")
        against = self._library.result(_needed(request, "against"))
        if role == "reference":
            return self._store.comparison(result, against).reference
        return self._store.comparison(against, result).other


def _needed(request: Request, name: str) -> str:
    """A text of the query.

    Raises:
      HTTPException: 400: it is not there.
    """
    text = request.query_params.get(name)
    if text is None:
        raise HTTPException(400, f"the address needs {name}=…")
    return text
