"""What every test and doctest runs under."""

import sys

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems():
    """Keep hypothesis, which asks modules for files, from importing k2."""
    importutils = sys.modules.get("speechbrain.utils.importutils")
    if importutils is not None:
        importutils.LazyModule.__file__ = None


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSPS_PLUGIN_CACHE", str(folder))
        yield folder
