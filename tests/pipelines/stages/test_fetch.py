from septet.pipelines.stages.fetch import _policy
from septet.preprocess.http.client import FetchPolicy
from septet.preprocess.images.process import ImagePolicy
from septet.schemas.recipe import Fetch, Image


def test_the_recipe_says_all_that_the_policies_know() -> None:
    assert _policy(Fetch()) == FetchPolicy()
    assert ImagePolicy(**Image().model_dump()) == ImagePolicy()
    assert set(Image.model_fields) == set(ImagePolicy.__dataclass_fields__)
    assert set(Fetch.model_fields) == set(FetchPolicy.__dataclass_fields__)
