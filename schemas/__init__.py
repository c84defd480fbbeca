"""What flows between the stages: tables, recipes, tags, geometry, errors. Imports none of ours."""
