"""Training and export, the same in both frameworks.

`caebook.training.keras` and `caebook.training.torch` offer the same functions: ``fit``,
``predict``, ``count_parameters``, ``export`` and ``export_classifier``. The other
modules hold what they share and import neither framework.
"""

from caebook.training.boundary import BOUNDARY, Exported
from caebook.training.checkpoint import Checkpoint
from caebook.training.history import History
from caebook.training.order import batches
from caebook.training.recipes import FAST_RECIPE, SOURCE_RECIPES, Recipe
from caebook.training.schedule import learning_rate

__all__ = [
    "BOUNDARY",
    "FAST_RECIPE",
    "SOURCE_RECIPES",
    "Checkpoint",
    "Exported",
    "History",
    "Recipe",
    "batches",
    "learning_rate",
]
