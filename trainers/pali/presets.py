"""PaLI's sizes (paper, section 3.1)."""

from septet.trainers.nets.t5 import T5Settings
from septet.trainers.pali.settings import PaliSettings, VitSettings

_LARGE = T5Settings()
_XXL = T5Settings(width=4096, inner=10_240, heads=64)

_VIT_L = VitSettings(width=1024, inner=4096, layers=24)
_VIT_G = VitSettings(width=1664, inner=8192, layers=48)
_VIT_E = VitSettings(width=1792, inner=15_360, layers=56)

SIZES = {
    "public": PaliSettings(),
    "1.5b": PaliSettings(vision=_VIT_L, language=_LARGE),
    "3b": PaliSettings(vision=_VIT_G, language=_LARGE),
    "5b": PaliSettings(vision=_VIT_E, language=_LARGE),
    "15b": PaliSettings(vision=_VIT_G, language=_XXL),
    "17b": PaliSettings(vision=_VIT_E, language=_XXL),
}
