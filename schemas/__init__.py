"""The words of the house: Arrow schemas, the recipe and the corpus manifest."""
