"""Import of what only the synthetic corpus needs."""

import importlib
from types import ModuleType


def import_extra(name: str) -> ModuleType:
    """Import a package of the ``demo`` extra, or say how to install it.

    Arguments
    ---------
    name : str
        The module's import name, such as ``"pyroomacoustics"``.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    RuntimeError
        If the module cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(
            f"Simulating recordings needs the module '{name}', which could "
            f"not be imported ({error}). It comes with the demo extra: "
            "pip install ssps_plugin[demo] (from a checkout: "
            "pip install '.[demo]')."
        ) from error
