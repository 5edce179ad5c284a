"""ERNIE-ViL; see the README."""
