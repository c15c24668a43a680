"""Two ranks over gloo on the CPU."""

import multiprocessing
import pathlib
import pickle
import tempfile

import pytest
import torch.multiprocessing as mp

# A server that has imported what ranks need is forked from, not the test's own
# process: where there is a GPU, autograd does not survive that.
SERVER = "forkserver"


@pytest.fixture
def run_ranks(tmp_path, monkeypatch):
    """Run `function(rank, *arguments)` on every rank, return the results."""
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent)
    from gloo_rank import run_rank

    context = multiprocessing.get_context(SERVER)
    context.set_forkserver_preload(["torch.distributed", "ssps_plugin"])

    def run(function, *arguments, world_size=2):
        folder = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
        path, name = function.__code__.co_filename, function.__name__
        shared = (path, name, world_size, str(folder), arguments)
        mp.start_processes(
            run_rank, shared, nprocs=world_size, start_method=SERVER
        )
        results = []
        for rank in range(world_size):
            result, error = pickle.loads((folder / str(rank)).read_bytes())
            assert error is None, f"rank {rank}:\n{error}"
            results.append(result)
        return results

    return run
