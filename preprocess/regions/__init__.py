"""Regions of images with features, as bottom-up attention has them (Anderson et al. 2018).

`detections` is what all backends give; `network` and `c4` are a Faster R-CNN C4 on torchvision's
parts, `detectron2_backend` runs an installed detectron2, `sources` reads files of features that
people already have, `select` has the rule that chooses regions.
"""
