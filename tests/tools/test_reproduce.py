"""What is reproduced, and how long each recipe says that it takes."""

import pytest
from refusals import refused

from lib import ROOT
from tools import reproduce


@pytest.mark.parametrize("name", reproduce.RECIPES)
def test_a_recipe_says_how_long_it_takes(name):
    assert reproduce.minutes(ROOT / "runs" / f"{name}.yaml") > 0


def test_a_recipe_without_its_time_is_refused(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("# A recipe.\n- task_name: a\n")
    with refused(where="own.yaml"):
        reproduce.minutes(recipe)
