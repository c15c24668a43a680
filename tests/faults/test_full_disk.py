"""A disk that fills up in the middle of a run, on a small file system."""

import subprocess

import pytest

from tests.faults.test_signals import finish, start
from tests.recipes.running import assert_same_run, history

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path):
    """A file system of some hundred kilobytes, and how to enlarge it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder],
            capture_output=True,
            check=False,
        ).returncode

    if mount("size=700k"):
        pytest.skip("no file system can be mounted here")
    yield folder, lambda: mount("remount", "size=200m")
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_run_which_goes_on_where_there_is_room(
    corpus, tmp_path, small_disk
):
    disk, enlarge = small_disk
    whole = tmp_path / "whole"
    finish(corpus, whole)
    output = disk / "run"
    process = start(corpus, output)
    _, errors = process.communicate(timeout=300)
    assert process.returncode not in (0, -9)
    # The log is on the full disk, too.
    log = errors + (output / "log.txt").read_text(errors="replace")
    assert "No space left" in log or "make room there" in log
    assert enlarge() == 0
    finish(corpus, output)
    assert history(output)[-1]["epoch"] == 6
    assert_same_run(whole, output)
