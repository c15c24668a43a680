"""Push an export to a model hub."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from ssps_plugin.pretrained.speaker_encoder import find_export_folder
from ssps_plugin.pretrained.trained_run import EXPORT_DETAILS


def push_to_hub(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
) -> str:
    """Push an export to the Hugging Face hub.

    The repository is made if it is not there. Nothing is pushed but by this
    function.

    Arguments
    ---------
    folder : str or os.PathLike
        As `export_run` writes it.
    repo_id : str
        `your-name/your-model`.
    private : bool
        Whether a repository that is made is private.
    token : str, optional
        Of an account that may write there; by default that of
        `huggingface-cli login` or of the variable HF_TOKEN.

    Returns
    -------
    str
        The address of the model.

    Raises
    ------
    FileNotFoundError
        The folder is no export.
    ValueError
        It is a run's, or the repository has no such name.
    RuntimeError
        `huggingface_hub` is not installed, the hub does not answer, or it
        refuses.
    """
    path = find_export_folder(folder)
    if not (path / EXPORT_DETAILS).is_file():
        raise FileNotFoundError(
            f"Expected an export, as ssps export writes it, got {path}, "
            f"without {EXPORT_DETAILS}: export the run first."
        )
    _check_repo_id(repo_id)
    try:
        import huggingface_hub
    except ImportError as error:
        raise RuntimeError(
            "Expected huggingface_hub: pip install 'ssps_plugin[hub]'."
        ) from error
    api = huggingface_hub.HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            folder_path=str(path),
            repo_id=repo_id,
            commit_message="Speaker encoder, exported by ssps_plugin",
            ignore_patterns=[".*", "*.tmp"],
        )
    except Exception as error:  # of whatever library it speaks HTTP with
        raise RuntimeError(_explain(error, repo_id)) from error
    return f"https://huggingface.co/{repo_id}"


def _check_repo_id(repo_id: str) -> None:
    parts = repo_id.split("/")
    if len(parts) != 2 or not all(parts) or pathlib.Path(repo_id).is_absolute():
        raise ValueError(
            f"Expected a repository as your-name/your-model, got {repo_id!r}: "
            "change it."
        )


def _explain(error: Any, repo_id: str) -> str:
    """Say what to do about an error of the hub."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if status in (401, 403) or "token" in type(error).__name__.lower():
        return (
            f"Expected to be allowed to write to {repo_id}, got: {reason} Log "
            "in by huggingface-cli login, or give a token that may write there."
        )
    if status is not None:
        return (
            f"Expected the hub to take {repo_id}, got its answer {status}: "
            f"{reason}"
        )
    if isinstance(error, ValueError):
        return f"Expected a repository that can be pushed to, got: {reason}"
    return (
        f"Expected to reach the hub to push to {repo_id}, got: {reason} Check "
        "the network; the export itself is whole, and can be pushed later."
    )
