"""The whole road: stages with resume, from a recipe to run.json."""
