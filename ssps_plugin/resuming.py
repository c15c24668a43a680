"""Going on with a run: what its folder holds against what is asked for."""

import pathlib

from ssps_plugin.configuration import Configuration

# Places, which may change without anything being trained otherwise.
_PLACES = {
    "data_folder",
    "made_trials",
    "minivox_folder",
    "output_folder",
    "overlay",
    "save_folder",
    "train_log",
    "train_manifest",
}


def check_same_run(configuration: Configuration) -> bool:
    """Refuse to go on with another experiment's run, and note what changed.

    What differs from the settings that the run was started with is added to
    the configuration's notes.

    Arguments
    ---------
    configuration : Configuration
        Of a recipe with the keys `output_folder`, `save_folder`, `experiment`
        and `true_positives`.

    Returns
    -------
    bool
        Whether there is a run to go on with.

    Raises
    ------
    ValueError
        The folder holds a run of another `experiment`, or of another
        `true_positives`.
    """
    now = configuration.settings()
    folder, save = (
        pathlib.Path(now[key]) for key in ("output_folder", "save_folder")
    )
    saved = folder / "hyperparams.yaml"
    if not saved.is_file() or not any(save.glob("CKPT*")):
        return False
    before = Configuration(saved, None, {}).settings()
    if before["experiment"] != now["experiment"]:
        start = ""
        if "warm_start_from" in now:
            start = f" (and start from it by --warm_start_from {save})"
        raise ValueError(
            f"Expected to go on with {before['experiment']}, whose run is in "
            f"{folder}, got {now['experiment']}: change output_folder{start}."
        )
    if before["true_positives"] != now["true_positives"]:
        raise ValueError(
            f"Expected to go on with true_positives "
            f"{before['true_positives']}, as the run in {folder} was started, "
            f"got {now['true_positives']}: change output_folder or "
            "true_positives."
        )
    changed = [
        f"{key} {before[key]} -> {value}"
        for key, value in now.items()
        if key in before and key not in _PLACES and before[key] != value
    ]
    if changed:
        configuration.notes.append(
            f"Going on with the run in {folder}, with other settings than it "
            f"was started with: {', '.join(changed)}."
        )
    return True
