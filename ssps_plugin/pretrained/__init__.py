"""Trained encoders in use: embed, compare, export, publish, bring in."""

import importlib
from typing import Any

# Imported when they are first used: some need what not everybody installs.
_MODULE_OF = {
    "Comparison": "speaker_encoder",
    "EncoderEnsemble": "encoder_ensemble",
    "ImportReport": "imported_weights",
    "SpeakerEncoder": "speaker_encoder",
    "export_onnx": "onnx_export",
    "export_run": "export",
    "export_torch": "onnx_export",
    "import_weights": "imported_weights",
    "load_weights": "imported_weights",
    "push_to_hub": "hub",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    return getattr(module, name)
