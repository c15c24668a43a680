"""What tests on a GPU look at."""

from tests.dataio.augmentation.test_batch_augmentation import files
from tests.recipes.conftest import corpus

__all__ = ["corpus", "files"]
