"""One report, written once for all tests of the package."""

import pytest

from nucseg_jax import report
from tests.report.comparisons import whole_comparison


@pytest.fixture(scope="package")
def compared():
    return whole_comparison()


@pytest.fixture(scope="package")
def page(compared, tmp_path_factory):
    return report.write(compared, tmp_path_factory.mktemp("report") / "new" / "folder")


@pytest.fixture(scope="package")
def html(page):
    return page.read_text()
