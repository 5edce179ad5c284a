"""A scorer of your own: how much of an image is nearly black or white. It is known by its entry
point (`pip install examples/scorers`), or as `exposure:Exposure` with this folder on PYTHONPATH:

septet annotate corpora/demo --column exposure
septet curate corpora/demo --keep "dark < 0.5 and bright top 90%" --name exposed
"""

from septet.preprocess.columns.scorer import Scorer


class Exposure(Scorer):
    """The shares of an image's pixels that are nearly black, and nearly white."""

    version = 1
    reads = ("image",)
    scores = {"dark": "share of pixels below 16", "bright": "share of pixels above 239"}

    def score(self, images, captions):
        return {
            "dark": [(image.mean(axis=2) < 16).mean() for image in images],
            "bright": [(image.mean(axis=2) > 239).mean() for image in images],
        }
