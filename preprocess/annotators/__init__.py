"""Kinds of annotation columns: regions, boxes, OCR, scene graphs and others."""
